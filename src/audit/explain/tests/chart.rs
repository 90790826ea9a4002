//! The drawing.

use super::super::chart::name;

/// Names end where bars begin. What does not fit is cut at its end, and all of it is still there to be read.
#[test]
fn a_long_name_keeps_its_front() {
    let short = name("card_amount_ratio", 12.0);
    assert!(short.ends_with(">card_amount_ratio</text>"), "{short}");
    let long = format!("card_{}", "x".repeat(59));
    let cut = name(&long, 12.0);
    assert!(
        cut.contains(&format!("<title>{long}</title>card_xxx")),
        "{cut}"
    );
    let (_, drawn) = cut.split_once("</title>").unwrap();
    let drawn = drawn.strip_suffix("…</text>").unwrap();
    // 212 units, of which a letter of 12 units takes eight at most.
    assert!(drawn.len() <= 26 && long.starts_with(drawn), "{drawn}");
}
