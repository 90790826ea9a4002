//! What a feature says for people.

use super::*;

/// The first feature of [`MANIFEST_TEXT`] with these lines, or what is said of them.
fn about(kind: &str, lines: &str) -> Result<About, String> {
    let from = "type = \"float32\"\nimpute = 0.0\n";
    let to = match kind {
        "string" => format!("type = \"string\"\n{lines}\n"),
        _ => format!("type = \"{kind}\"\nimpute = 0.0\n{lines}\n"),
    };
    assert!(MANIFEST_TEXT.contains(from));
    let folder = folder(&MANIFEST_TEXT.replacen(from, &to, 1));
    let package = Package::load(folder.path()).map_err(|error| error.to_string())?;
    Ok(package.features[0].about.clone())
}

#[test]
fn a_feature_says_what_it_is() {
    let lines = "unit = \"EUR\"\nrange = [0, 1e4]\ndescription = \"What is paid\"\npersonal = \"pseudonymous\"";
    assert_eq!(
        about("float32", lines).unwrap(),
        About {
            unit: Some("EUR".into()),
            range: Some([0.0, 10_000.0]),
            description: Some("What is paid".into()),
            personal: Some(Personal::Pseudonymous),
        }
    );
    assert_eq!(about("float32", "").unwrap(), About::default());
    for kind in ["float64", "int64"] {
        assert_eq!(
            about(kind, "range = [-1, -1]").unwrap().range,
            Some([-1.0, -1.0])
        );
    }
    for class in Personal::ALL {
        let line = format!("personal = \"{}\"", class.as_str());
        assert_eq!(about("boolean", &line).unwrap().personal, Some(class));
    }
}

#[test]
fn what_a_feature_cannot_be_is_refused_with_the_fix() {
    let long = "x".repeat(33);
    for (kind, line, says) in [
        (
            "float32",
            "range = [1, 0]".to_owned(),
            ":21: `range` of feature `amount`: write the least and the greatest usual value",
        ),
        (
            "float32",
            "range = [0]".to_owned(),
            ":21: `range` of feature `amount`: write the least",
        ),
        (
            "float32",
            "range = [0, 1, 2]".to_owned(),
            ":21: `range` of feature `amount`: write the",
        ),
        (
            "float32",
            "range = [0, inf]".to_owned(),
            ":21: `range` of feature `amount`: write the",
        ),
        (
            "float32",
            "range = [nan, 1]".to_owned(),
            ":21: `range` of feature `amount`: write the",
        ),
        (
            "float32",
            "range = [-inf, 1]".to_owned(),
            ":21: `range` of feature `amount`: write the",
        ),
        (
            "boolean",
            "range = [0, 1]".to_owned(),
            ":21: `range` of feature `amount`: only numbers",
        ),
        (
            "string",
            "range = [0, 1]".to_owned(),
            ":20: `range` of feature `amount`: only numbers",
        ),
        (
            "float32",
            "personal = \"yes\"".to_owned(),
            ":21: `personal` of feature `amount` is \"yes\"; write one of none, pseudonymous",
        ),
        (
            "float32",
            "unit = \"\"".to_owned(),
            ":21: `unit` of feature `amount`: write 1 to 32 characters, in one line, or leave",
        ),
        (
            "float32",
            format!("unit = \"{long}\""),
            ":21: `unit` of feature `amount`: write 1 to 32",
        ),
        (
            "float32",
            "description = \"a\\nb\"".to_owned(),
            ":21: `description` of feature `amount`: write 1 to 1000 characters, in one line",
        ),
        (
            "float32",
            "personal = \"personal\"".to_owned(),
            ":21: `personal` of feature `amount` is \"personal\"; features are archived in clear",
        ),
        (
            "float32",
            "units = \"EUR\"".to_owned(),
            ":21: feature 1: `units` is unknown",
        ),
    ] {
        let text = about(kind, &line).unwrap_err();
        assert!(text.contains(says), "{line}: wanted {says}: {text}");
    }
}
