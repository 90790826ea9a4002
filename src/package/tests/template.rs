//! Texts with values in them.

use super::super::Template;

fn parse(text: &str) -> Result<Template, String> {
    let names = ["amount", "count"];
    Template::parse(text, |name| names.iter().position(|known| *known == name))
}

#[test]
fn values_and_braces_are_put_in() {
    for (text, rendered) in [
        ("", ""),
        ("plain", "plain"),
        ("{amount}", "<0>"),
        ("{amount}{count}{amount}", "<0><1><0>"),
        ("a {amount} b {count} ü", "a <0> b <1> ü"),
        ("{{", "{"),
        ("}}", "}"),
        ("{{amount}}", "{amount}"),
        ("{{{amount}}}", "{<0>}"),
        ("{{{{ }}}}", "{{ }}"),
        ("{{}}{count}", "{}<1>"),
    ] {
        let template = parse(text).unwrap();
        assert_eq!(template.render(|at| format!("<{at}>")), rendered, "{text}");
    }
}

#[test]
fn a_value_is_never_read_as_a_template() {
    let template = parse("{amount} {count}").unwrap();
    assert_eq!(template.render(|_| "{count}".to_owned()), "{count} {count}");
}

#[test]
fn what_is_no_place_is_refused() {
    for (text, says) in [
        ("{", "a `{` is not closed; write {feature_name}"),
        ("{amount", "a `{` is not closed"),
        ("{{{amount", "a `{` is not closed"),
        ("}", "a `}` stands alone; write `}}` for a brace"),
        ("{amount}}", "a `}` stands alone"),
        ("a } b", "a `}` stands alone"),
        ("{}", "{} names no feature of this group"),
        (
            "{other}",
            "{other} names no feature of this group; write one of its `features`, or `{{` for a brace",
        ),
        ("{ amount }", "{ amount } names no feature"),
        ("{a{{b}", "{a{{b} names no feature"),
    ] {
        let problem = parse(text).unwrap_err();
        assert!(problem.contains(says), "{text}: {problem}");
    }
}
