//! `probity check`: everything that a run needs, looked at once, each with the fix.

use std::io::Write;

use crate::config::Config;
use crate::error::{Exit, Fatal, Result};
use crate::native::TopicIds;
use crate::setup::{self, Setup};
use crate::succession;
use crate::topics::Topics;
use crate::topics::rules::Finding;

/// Looks at schema, model and provider, then brokers, topics and offsets, then the archive. Prints a
/// line for each thing as soon as it is known.
///
/// # Errors
/// Check failed, when something is not well.
pub fn run(config: &Config, out: &mut dyn Write) -> Result<()> {
    let mut failed = 0;
    let mut print = |finding: &Finding| -> Result<()> {
        failed += usize::from(!finding.is_well());
        let line = match &finding.fix {
            None => format!("✔ {}", finding.what),
            Some(fix) => format!("✘ {}\n    {fix}", finding.what),
        };
        writeln!(out, "{line}").map_err(|e| Fatal::unreachable("printing").because(e))
    };
    let setup = match Setup::load(config) {
        Ok(setup) => {
            let fields = setup.schema.fields().len();
            print(&well(format!("input schema with {fields} fields")))?;
            print(&well(setup.describe()))?;
            print(&well(setup.describe_reasons()))?;
            for package in setup.shadows() {
                print(&well(format!("shadow {}", package.title())))?;
            }
            Some(setup)
        }
        Err(fatal) => {
            print(&ill("schema, model and runtime", &fatal))?;
            None
        }
    };
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
        Ok(place) => print(&well(format!("archive at {place} creates once")))?,
        Err(fatal) => print(&ill("archive", &fatal))?,
    }
    if failed == 0 {
        return Ok(());
    }
    Err(Fatal::new(
        Exit::CheckFailed,
        format!("{failed} things must be mended first"),
    ))
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
