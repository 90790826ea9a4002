//! `probity check`: everything that a run needs, looked at once, each with the fix.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use crate::archive::archiver;
use crate::config::Config;
use crate::error::{Exit, Fatal, Result};
use crate::keys::Keys;
use crate::lane::Sealer;
use crate::native::TopicIds;
use crate::pipeline::Roles;
use crate::setup::{self, Setup};
use crate::succession;
use crate::topics::Topics;
use crate::topics::rules::Finding;
use crate::words::counted;

/// Looks at schema, model and provider, keys and port, then brokers, topics and offsets, then the archive, as
/// far as the roles need them. Prints a line for each thing as soon as it is known.
///
/// # Errors
/// Check failed, when something is not well.
pub fn run(config: &Config, roles: Roles, out: &mut dyn Write) -> Result<()> {
    let mut failed = 0;
    let mut print = |finding: &Finding| -> Result<()> {
        failed += usize::from(!finding.is_well());
        let line = match &finding.fix {
            None => format!("✔ {}", finding.what),
            Some(fix) => format!("✘ {}\n    {fix}", finding.what),
        };
        writeln!(out, "{line}").map_err(|e| Fatal::unreachable("printing").because(e))
    };
    let setup = match roles.score.then(|| Setup::load(config)) {
        None => None,
        Some(Ok(setup)) => {
            let fields = setup.schema.fields().len();
            print(&well(format!("input schema with {fields} fields")))?;
            print(&well(setup.describe()))?;
            print(&well(setup.describe_reasons()))?;
            for package in setup.shadows() {
                print(&well(format!("shadow {}", package.title())))?;
            }
            Some(setup)
        }
        Some(Err(fatal)) => {
            print(&ill("schema, model and runtime", &fatal))?;
            None
        }
    };
    match Keys::load(&config.keys.folder) {
        Ok(keys) => keys_of(Arc::new(keys), roles)
            .iter()
            .try_for_each(&mut print)?,
        Err(fatal) => print(&ill("keys", &fatal))?,
    }
    print(&port(config.admin.listen))?;
    match Topics::connect(config, TopicIds::Broker) {
        Ok(topics) => {
            print(&well("brokers answer".to_owned()))?;
            match topics.check() {
                Ok(findings) => findings.iter().try_for_each(&mut print)?,
                Err(fatal) => print(&ill("topics", &fatal))?,
            }
            let admit = |setup: &Setup| succession::admit(&setup.package, &topics.editions()?);
            if let Some(Err(fatal)) = setup.as_ref().map(admit) {
                print(&ill("the package that decided last", &fatal))?;
            }
        }
        Err(fatal) => print(&ill("brokers", &fatal))?,
    }
    match setup::archive::place(config) {
        Ok((place, false)) => print(&well(format!("archive at {place} creates once")))?,
        Ok((place, true)) => print(&well(format!(
            "archive at {place} creates once; its folder was not there and is made now: see archive.url if \
             it should have been"
        )))?,
        Err(fatal) => print(&ill("archive", &fatal))?,
    }
    if failed == 0 {
        return Ok(());
    }
    Err(Fatal::new(
        Exit::CheckFailed,
        format!("{} must be mended first", counted(failed, "thing")),
    ))
}

/// What each role signs with.
fn keys_of(keys: Arc<Keys>, roles: Roles) -> Vec<Finding> {
    let mut findings = Vec::new();
    if roles.archive {
        let head = match keys.log.len() {
            0 => "without log.key, another process signs the ledger's head",
            _ => "log.key the ledger's head",
        };
        findings.push(match archiver::signer(&keys) {
            Ok(_) => well(format!("archiver.key signs the archive; {head}")),
            Err(fatal) => ill("key of the archiver", &fatal),
        });
    }
    if roles.score {
        findings.push(match Sealer::new(keys) {
            Ok(_) => {
                well("scorer.key signs evidence; commitment.key commits to payloads".to_owned())
            }
            Err(fatal) => ill("keys of the scorer", &fatal),
        });
    }
    findings
}

/// Whether a start could listen there. A pipeline that runs already is no fault.
fn port(listen: SocketAddr) -> Finding {
    match TcpListener::bind(listen) {
        Ok(_) => well(format!("admin.listen {listen} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => well(format!(
            "admin.listen {listen} is taken, by a pipeline that runs or by something else: a start would need it"
        )),
        Err(error) => {
            let fatal = Fatal::usage(format!(
                "cannot listen on {listen}; choose another admin.listen"
            ));
            ill("port", &fatal.because(error))
        }
    }
}

fn well(what: String) -> Finding {
    Finding { what, fix: None }
}

fn ill(what: &str, fatal: &Fatal) -> Finding {
    Finding {
        what: what.to_owned(),
        fix: Some(fatal.to_string()),
    }
}
