//! `model.sig`: the fixture, which the reference tool signed, altered copies of it, and statements that only a
//! signer could make. `tests/models/sign.py --check` asks the reference tool about the same copies.

use std::fs;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::super::signature::verify;
use super::*;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/model-signing")
        .join(name)
}

fn trusted() -> TrustKey {
    TrustKey::load(&data("key.pub.pem")).unwrap()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// A copy of the signed package.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&data("package"), folder.path());
    folder
}

fn append(path: &Path, name: &str) {
    use std::io::Write as _;
    let mut options = fs::File::options();
    let mut file = options
        .create(true)
        .append(true)
        .open(path.join(name))
        .unwrap();
    file.write_all(b"\n").unwrap();
}

fn assert_refused(what: &str, folder: &Path, key: &TrustKey, says: &str) {
    let error = Package::load_signed(folder, key).expect_err(what);
    assert_eq!(error.exit, Exit::Integrity, "{what}: {error}");
    let text = error.to_string();
    assert!(text.contains(says), "{what}: wanted {says}: {text}");
}

/// What is said of a copy that `alter` altered.
fn assert_altered_refused(what: &str, alter: impl Fn(&Path), says: &str) {
    let folder = copy();
    alter(folder.path());
    assert_refused(what, folder.path(), &trusted(), says);
}

#[test]
fn what_the_reference_tool_signed_is_accepted() {
    let package = Package::load_signed(&data("package"), &trusted()).unwrap();
    assert_eq!(package.title(), "fixture-signed 1.0.0");
    assert!(package.files().iter().all(|part| part.file != SIGNATURE));
}

#[test]
fn what_is_ignored_when_signing_may_be_there() {
    let folder = copy();
    fs::create_dir_all(folder.path().join(".git/hooks")).unwrap();
    append(folder.path(), ".git/hooks/commit-msg");
    append(folder.path(), ".gitignore");
    fs::create_dir(folder.path().join("empty")).unwrap();
    assert!(Package::load_signed(folder.path(), &trusted()).is_ok());
}

#[test]
fn altered_files_are_refused_by_name() {
    let remove = |name: &'static str| move |path: &Path| fs::remove_file(path.join(name)).unwrap();
    let alter = |name: &'static str| move |path: &Path| append(path, name);
    let not = "is not what was signed: ";
    assert_altered_refused(
        "changed",
        alter("model.onnx"),
        &format!("{not}model.onnx differs"),
    );
    // It is no TOML any more: nothing is parsed that is not signed.
    let broken = |path: &Path| fs::write(path.join("model.toml"), "[[").unwrap();
    assert_altered_refused("model.toml", broken, &format!("{not}model.toml differs"));
    let says = format!("{not}notes/README.md differs");
    assert_altered_refused("below", alter("notes/README.md"), &says);
    assert_altered_refused(
        "added",
        alter("extra.txt"),
        &format!("{not}extra.txt is not signed"),
    );
    let says = format!("{not}notes/extra.txt is not signed");
    assert_altered_refused("added below", alter("notes/extra.txt"), &says);
    let says = format!("{not}golden.json is signed and not there");
    assert_altered_refused("removed", remove("golden.json"), &says);
    let several = |path: &Path| {
        append(path, "model.onnx");
        append(path, "model.toml");
        remove("golden.json")(path);
        for number in 1..8 {
            append(path, &format!("{number}"));
        }
    };
    let says = format!(
        "{not}model.onnx, model.toml differ; golden.json is signed and not there; \
         1, 2, 3, 4, 5 and 2 more are not signed"
    );
    assert_altered_refused("several", several, &says);
}

#[test]
fn links_are_refused() {
    use std::os::unix::fs::symlink;
    let link = |path: &Path| symlink("model.onnx", path.join("link")).unwrap();
    assert_altered_refused(
        "link",
        link,
        "link is a link or no file; a signed package has",
    );
    let replaced = |path: &Path| {
        fs::remove_file(path.join("model.onnx")).unwrap();
        symlink("../model.onnx", path.join("model.onnx")).unwrap();
    };
    assert_altered_refused("replaced", replaced, "model.onnx is a link or no file");
}

#[test]
fn a_package_without_a_signature_is_refused() {
    let remove = |path: &Path| fs::remove_file(path.join(SIGNATURE)).unwrap();
    let says = "has no model.sig, and `model.trust_key` demands one; sign it with";
    assert_altered_refused("none", remove, says);
}

#[test]
fn another_key_is_refused() {
    let other = TrustKey::load(&data("other.pub.pem")).unwrap();
    let says = "was signed with another key than the trusted one: it names \"";
    assert_refused("other key", &data("package"), &other, says);
    // An older bundle names no key: then the signature alone decides.
    let folder = copy();
    edit_bundle(folder.path(), |bundle| {
        bundle["verificationMaterial"]["publicKey"] = json!({});
    });
    assert!(Package::load_signed(folder.path(), &trusted()).is_ok());
    let says = "is not signed by the trusted key, or was altered afterwards";
    assert_refused("other key", folder.path(), &other, says);
}

fn edit_bundle(folder: &Path, edit: impl Fn(&mut Value)) {
    let path = folder.join(SIGNATURE);
    let mut bundle: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut bundle);
    fs::write(path, bundle.to_string()).unwrap();
}

#[test]
fn altered_bundles_are_refused() {
    let refused = |what: &str, edit: &dyn Fn(&mut Value), says: &str| {
        assert_altered_refused(what, |path| edit_bundle(path, edit), says);
    };
    let flipped = |text: &Value, at: usize| {
        let mut bytes = BASE64.decode(text.as_str().unwrap()).unwrap();
        bytes[at] ^= 1;
        Value::String(BASE64.encode(bytes))
    };
    let by_key = "is not signed by the trusted key, or was altered afterwards";
    for at in [0, 10, 40, 69] {
        let flip = |bundle: &mut Value| {
            let signature = &mut bundle["dsseEnvelope"]["signatures"][0]["sig"];
            *signature = flipped(signature, at);
        };
        refused(&format!("signature, byte {at}"), &flip, by_key);
    }
    for at in [0, 100, 400] {
        let flip = |bundle: &mut Value| {
            let payload = &mut bundle["dsseEnvelope"]["payload"];
            *payload = flipped(payload, at);
        };
        refused(&format!("payload, byte {at}"), &flip, by_key);
    }
    refused(
        "no base64",
        &|bundle| bundle["dsseEnvelope"]["payload"] = json!("?"),
        "is damaged: its payload is not base64",
    );
    refused(
        "type of the payload",
        &|bundle| bundle["dsseEnvelope"]["payloadType"] = json!("text/plain"),
        "its payload is of type \"text/plain\"; only \"application/vnd.in-toto+json\" is",
    );
    refused(
        "older bundle",
        &|bundle| {
            bundle["mediaType"] = json!("application/vnd.dev.sigstore.bundle+json;version=0.2");
        },
        "has a form that is not supported: it is of type \"application/vnd.dev.sigstore.bundle+json;version=0.2\"",
    );
    refused(
        "certificate",
        &|bundle| {
            bundle["verificationMaterial"] = json!({"x509CertificateChain": {"certificates": []}});
        },
        "is not signed with a bare key but by a certificate or an identity; sign with",
    );
    refused(
        "two signatures",
        &|bundle| {
            let signatures = bundle["dsseEnvelope"]["signatures"].as_array_mut().unwrap();
            signatures.push(signatures[0].clone());
        },
        "has 2 signatures; exactly one is verified",
    );
    refused(
        "no envelope",
        &|bundle| drop(bundle.as_object_mut().unwrap().remove("dsseEnvelope")),
        "has no DSSE envelope",
    );
    let no_json = |path: &Path| fs::write(path.join(SIGNATURE), "no JSON").unwrap();
    let says = "is no signature of Model Signing 1.0: it is not its JSON";
    assert_altered_refused("no JSON", no_json, says);
}

/// Signs the statement of the fixture anew, as `edit` makes it. The digest of the subject is made to fit, unless
/// `edit` changes it.
fn sign(folder: &Path, edit: impl Fn(&mut Value)) {
    let pem = fs::read_to_string(data("key.pem")).unwrap();
    let body: String = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let der = BASE64.decode(body).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der).unwrap();
    edit_bundle(folder, |bundle| {
        let envelope = &mut bundle["dsseEnvelope"];
        let payload = BASE64
            .decode(envelope["payload"].as_str().unwrap())
            .unwrap();
        let mut statement: Value = serde_json::from_slice(&payload).unwrap();
        let before = statement["subject"].clone();
        edit(&mut statement);
        if statement["subject"] == before {
            let mut all = Vec::new();
            for resource in statement["predicate"]["resources"].as_array().unwrap() {
                let digest = Digest::parse(resource["digest"].as_str().unwrap());
                all.extend_from_slice(&digest.map_or([0; 32], |digest| digest.0));
            }
            let root = Digest::of(&all).to_string();
            statement["subject"][0]["digest"]["sha256"] = Value::String(root);
        }
        let payload = statement.to_string();
        let kind = "application/vnd.in-toto+json";
        let signed = format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len());
        let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        envelope["payload"] = Value::String(BASE64.encode(payload));
        envelope["signatures"][0]["sig"] = Value::String(BASE64.encode(signature.as_ref()));
    });
}

#[test]
fn a_statement_that_was_signed_anew_is_accepted() {
    let folder = copy();
    sign(folder.path(), |_| ());
    assert!(Package::load_signed(folder.path(), &trusted()).is_ok());
}

#[test]
fn signed_statements_of_another_form_are_refused() {
    let refused = |what: &str, edit: &dyn Fn(&mut Value), says: &str| {
        assert_altered_refused(what, |path| sign(path, edit), says);
    };
    refused(
        "type",
        &|statement| statement["_type"] = json!("https://in-toto.io/Statement/v0.1"),
        "its payload is of type \"https://in-toto.io/Statement/v0.1\"; only",
    );
    for kind in [
        "https://model_signing/Digests/v0.1",
        "https://slsa.dev/provenance/v1",
    ] {
        refused(
            kind,
            &|statement| statement["predicateType"] = json!(kind),
            &format!(
                "its predicate is of type {kind:?}; only \"https://model_signing/signature/v1.0\" is"
            ),
        );
    }
    refused(
        "shards",
        &|statement| {
            let serialization = &mut statement["predicate"]["serialization"];
            serialization["method"] = json!("shards");
            serialization["shard_size"] = json!(1_000_000);
        },
        "signs the files by \"shards\"; sign them whole, by \"files\"",
    );
    for hash in ["blake2", "blake3"] {
        refused(
            hash,
            &|statement| statement["predicate"]["serialization"]["hash_type"] = json!(hash),
            &format!("its hash is of type {hash:?}; only \"sha256\" is"),
        );
    }
    refused(
        "hash of a file",
        &|statement| statement["predicate"]["resources"][0]["algorithm"] = json!("blake2"),
        "the hash of \"golden.json\" is of type \"blake2\"",
    );
    refused(
        "digits",
        &|statement| statement["predicate"]["resources"][0]["digest"] = json!("12"),
        "is damaged: the hash of \"golden.json\" is not 64 digits",
    );
    refused(
        "subjects",
        &|statement| statement["subject"] = json!([]),
        "has 0 subjects; a package is one",
    );
    refused(
        "root",
        &|statement| statement["subject"][0]["digest"]["sha256"] = json!("0".repeat(64)),
        "contradicts itself: the digest of its subject is not that of its files",
    );
    refused(
        "twice",
        &|statement| {
            let resources = statement["predicate"]["resources"].as_array_mut().unwrap();
            resources.push(resources[0].clone());
        },
        "lists \"golden.json\" twice",
    );
    refused(
        "other path",
        &|statement| statement["predicate"]["resources"][0]["name"] = json!("./golden.json"),
        "./golden.json is signed and not there; golden.json is not signed",
    );
}

#[test]
fn what_is_read_must_be_signed_and_not_ignored() {
    let ignore = |path: &'static str, takes: &'static str| {
        move |statement: &mut Value| {
            let predicate = &mut statement["predicate"];
            let ignored = predicate["serialization"]["ignore_paths"].as_array_mut();
            ignored.unwrap().push(json!(path));
            let resources = predicate["resources"].as_array_mut().unwrap();
            resources.retain(|resource| !resource["name"].as_str().unwrap().starts_with(takes));
        }
    };
    // A file that probity does not read may be left out, with all of its folder.
    for path in ["notes", "notes/", "./notes", "notes/README.md"] {
        let folder = copy();
        sign(folder.path(), ignore(path, "notes/"));
        append(folder.path(), "notes/README.md");
        assert!(
            Package::load_signed(folder.path(), &trusted()).is_ok(),
            "{path}"
        );
    }
    for path in ["../notes", "/notes", "note", "notes/README"] {
        let folder = copy();
        sign(folder.path(), ignore(path, "notes/"));
        let says = "notes/README.md is not signed";
        assert_refused(path, folder.path(), &trusted(), says);
    }
    for (path, takes) in [("model.onnx", "model.onnx"), (".", "")] {
        let says = "is not what model.sig says: it was ignored when signing";
        assert_altered_refused(path, |folder| sign(folder, ignore(path, takes)), says);
    }
    // As with the reference tool, what is ignored counts as absent.
    let says = "model.onnx is signed and not there";
    assert_altered_refused(
        "both",
        |folder| sign(folder, ignore("model.onnx", "-")),
        says,
    );
}

#[test]
fn a_file_that_is_written_while_it_is_verified_is_noticed() {
    let folder = copy();
    let signed = verify(folder.path(), &trusted()).unwrap();
    append(folder.path(), "golden.json");
    let package = Package::load(folder.path()).unwrap();
    let error = signed.covers(&package).unwrap_err();
    assert_eq!(error.exit, Exit::Integrity);
    let text = error.to_string();
    assert!(
        text.contains("golden.json is not what model.sig says"),
        "{text}"
    );
}

#[test]
fn only_a_public_key_of_p256_is_a_trust_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let refused = |text: &str, says: &str| {
        fs::write(&path, text).unwrap();
        let error = TrustKey::load(&path).unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
        assert!(error.to_string().contains(says), "{text}: {error}");
    };
    let good = fs::read_to_string(data("key.pub.pem")).unwrap();
    let private = fs::read_to_string(data("key.pem")).unwrap();
    refused(
        &private,
        "is a private key, which belongs to the signer alone",
    );
    let says = "is no PEM of a P-256 public key; write the text from";
    refused("", says);
    refused(&good.replace("PUBLIC", "CERTIFICATE"), says);
    refused(&good.replace("MFkw", "MFk?"), says);
    // Another curve by its name, and a point that is too short.
    refused(
        &good.replace(
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD",
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQYD",
        ),
        says,
    );
    let p384 = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE8Duy6JAW8drLnqcITlglspm4eHDr4aY0
Z+M4ShBB7+rL+bkhxfUcogIkyenV74Wp8WCk3jvVgIQVeW89MfMb3q45O41SZlz0
5aGf9e+UgUsTjtvICoIo1LsgCMC2oDhe
-----END PUBLIC KEY-----
";
    refused(p384, says);
    let error = TrustKey::load(&folder.path().join("none")).unwrap_err();
    assert!(error.to_string().contains("none cannot be read"), "{error}");
    // However its lines are broken.
    fs::write(&path, good.replace('\n', "\r\n")).unwrap();
    let key = TrustKey::load(&path).unwrap();
    assert!(Package::load_signed(&data("package"), &key).is_ok());
}
