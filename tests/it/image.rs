//! The image can be built: what its recipe copies is there, and is sent to the builder.

use std::fs;

use crate::kit::pipeline::root;

/// What `deploy/Dockerfile` copies from the repository, not from another stage.
fn copied() -> Vec<String> {
    let text = fs::read_to_string(root().join("deploy/Dockerfile")).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("COPY "));
    let own = lines.filter(|line| !line.starts_with("--from="));
    own.flat_map(|line| {
        let mut words: Vec<String> = line.split_whitespace().map(String::from).collect();
        words.pop().expect("where it goes");
        words
    })
    .collect()
}

/// What is sent to the builder: the file begins with all, and takes paths out of that again.
fn sent() -> Vec<String> {
    let text = fs::read_to_string(root().join("deploy/Dockerfile.dockerignore")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("*"));
    let path = |line: &str| line.strip_prefix('!').expect("an exception").to_owned();
    lines.map(path).collect()
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[test]
fn what_the_image_copies_exists_and_is_sent() {
    let (copied, sent) = (copied(), sent());
    assert!(copied.len() > 8, "{copied:?}");
    for path in &copied {
        assert!(root().join(path).exists(), "{path} does not exist");
        assert!(sent.iter().any(|s| is_below(path, s)), "{path} is not sent");
    }
    for path in &sent {
        let is_used = copied.iter().any(|c| is_below(c, path));
        assert!(is_used, "{path} is sent and not copied");
    }
}

/// Cargo wants to find every target of Cargo.toml, and the compiler every file that is compiled in.
#[test]
fn what_the_build_reads_is_copied() {
    let copied = copied();
    let is_copied = |path: &str| copied.iter().any(|c| is_below(path, c));
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    for kind in ["bin", "test", "bench"] {
        for target in manifest[kind].as_array().unwrap() {
            let name = target["name"].as_str().unwrap();
            let usual = format!("benches/{name}.rs");
            let path = target.get("path").map_or(&*usual, |p| p.as_str().unwrap());
            assert!(root().join(path).exists(), "{path} does not exist");
            assert!(is_copied(path), "{path} is not copied");
        }
    }
    for path in compiled_in("src") {
        assert!(is_copied(&path), "{path} is not copied");
    }
}

/// The files outside of `src` that `include_str!` and `include_bytes!` name in the files of `folder`. The image is built
/// without unit tests, so what only they read is passed over.
fn compiled_in(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    if folder.ends_with("/tests") {
        return found;
    }
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(compiled_in(&path));
            continue;
        }
        let text = fs::read_to_string(entry.path()).unwrap();
        for macro_name in ["include_str!(\"", "include_bytes!(\""] {
            let names = text.split(macro_name).skip(1);
            let names = names.map(|rest| rest.split('"').next().unwrap());
            let paths = names.map(|name| joined(folder, name));
            found.extend(paths.filter(|path| !is_below(path, "src")));
        }
    }
    found
}

/// The path from the root of what a file in `folder` calls `name`.
fn joined(folder: &str, name: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').collect();
    for part in name.split('/') {
        match part {
            ".." => {
                parts.pop().expect("it is in the repository");
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}
