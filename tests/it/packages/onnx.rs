//! ONNX files of a few nodes, written by hand: what no exporter would write must be refused too.
//!
//! Field numbers are those of `onnx.proto`.

const FLOAT: u64 = 1;
pub const INT64: u64 = 7;
pub const DOUBLE: u64 = 11;

/// A model of one feature. By default it is well: the logistic function of `input`.
pub struct Onnx {
    pub input: (&'static str, u64),
    pub output: u64,
    pub nodes: Vec<Vec<u8>>,
    pub constants: Vec<Vec<u8>>,
}

impl Default for Onnx {
    fn default() -> Onnx {
        Onnx {
            input: ("input", FLOAT),
            output: FLOAT,
            nodes: vec![node("Sigmoid", "", &["input"], "score")],
            constants: Vec::new(),
        }
    }
}

impl Onnx {
    pub fn bytes(&self) -> Vec<u8> {
        let (input, kind) = self.input;
        let mut graph: Vec<u8> = self.nodes.iter().flat_map(|node| field(1, node)).collect();
        graph.extend(field(2, b"hand-made"));
        graph.extend(
            self.constants
                .iter()
                .flat_map(|constant| field(5, constant)),
        );
        graph.extend(field(11, &column(input, kind)));
        graph.extend(field(12, &column("score", self.output)));
        let own = number(2, 15);
        let other = [field(1, b"com.example"), number(2, 1)].concat();
        [
            number(1, 8),
            field(7, &graph),
            field(8, &own),
            field(8, &other),
        ]
        .concat()
    }
}

pub fn node(operator: &str, domain: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let mut node: Vec<u8> = inputs
        .iter()
        .flat_map(|name| field(1, name.as_bytes()))
        .collect();
    node.extend(field(2, output.as_bytes()));
    node.extend(field(4, operator.as_bytes()));
    node.extend(field(7, domain.as_bytes()));
    node
}

/// A cast to the type of this number.
pub fn cast(input: &str, output: &str, to: u64) -> Vec<u8> {
    const INT: u64 = 2;
    let attribute = [field(1, b"to"), number(3, to), number(20, INT)].concat();
    let mut node = node("Cast", "", &[input], output);
    node.extend(field(5, &attribute));
    node
}

/// One 32-bit float whose bytes lie in another file.
pub fn external(name: &str, location: &str) -> Vec<u8> {
    let entry =
        |key: &str, value: &str| [field(1, key.as_bytes()), field(2, value.as_bytes())].concat();
    [
        number(1, 1),
        number(2, FLOAT),
        field(8, name.as_bytes()),
        field(13, &entry("location", location)),
        field(13, &entry("length", "4")),
        number(14, 1),
    ]
    .concat()
}

/// `name` as a column of any number of rows.
fn column(name: &str, kind: u64) -> Vec<u8> {
    let rows = field(1, &field(2, b"N"));
    let one = field(1, &number(1, 1));
    let tensor = [number(1, kind), field(2, &[rows, one].concat())].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

fn number(tag: u64, value: u64) -> Vec<u8> {
    [varint(tag << 3), varint(value)].concat()
}

fn field(tag: u64, content: &[u8]) -> Vec<u8> {
    let head = [varint(tag << 3 | 2), varint(content.len() as u64)].concat();
    [&head, content].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}
