//! Logs to standard error, as text for people or as JSON, one object a line.
//!
//! Knows nothing of what is logged. The level comes from `[log] level`; `PROBITY_LOG` replaces it
//! with filters like `info,probity::lane=debug`. Events carry fields, not numbers inside sentences,
//! and never anything of a payload.

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{Log, LogFormat};
use crate::error::{Exit, Fatal, Result};

/// Holds filters that replace the level of the configuration.
pub const FILTER_VARIABLE: &str = "PROBITY_LOG";

/// Starts the logging of this process; once.
///
/// # Errors
/// Usage: `filter`, the value of `PROBITY_LOG`, cannot be read. Bug: it was called before.
pub fn init(log: &Log, filter: Option<&str>) -> Result<()> {
    let colour = std::io::stderr().is_terminal();
    let subscriber = subscriber(log, filter, colour, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|error| Fatal::new(Exit::Bug, "cannot start the logging twice").because(error))
}

fn subscriber<W>(
    log: &Log,
    filter: Option<&str>,
    colour: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let text = filter
        .filter(|text| !text.trim().is_empty())
        .unwrap_or(log.level.as_str());
    let filter = EnvFilter::try_new(text).map_err(|error| {
        let fix = "write filters like info,probity::lane=debug";
        Fatal::usage(format!(
            "environment variable {FILTER_VARIABLE}: is {text:?}; {fix}"
        ))
        .because(error)
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    Ok(match log.format {
        LogFormat::Text => Box::new(builder.with_ansi(colour).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::config::LogLevel;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: Option<&str>) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let log = Log {
            format,
            level: LogLevel::Info,
        };
        let subscriber = subscriber(&log, filter, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(partition = 3, rows = 512, "committed");
            tracing::debug!("gathered");
        });
        String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn text_has_fields() {
        let text = logged(LogFormat::Text, None);
        assert!(
            text.contains("INFO") && text.contains("committed partition=3 rows=512"),
            "{text}"
        );
        assert!(!text.contains("gathered"));
    }

    #[test]
    fn json_has_one_object_a_line() {
        let text = logged(LogFormat::Json, None);
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "committed");
        assert_eq!(line["partition"], 3);
        assert!(line["timestamp"].is_string());
    }

    #[test]
    fn the_variable_replaces_the_level() {
        assert!(logged(LogFormat::Text, Some("debug")).contains("gathered"));
        assert!(!logged(LogFormat::Text, Some("warn")).contains("committed"));
        assert!(logged(LogFormat::Text, Some("")).contains("committed"));
        assert!(
            !logged(LogFormat::Text, Some("info,probity::logging=error")).contains("committed")
        );
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_refused() {
        let log = Log {
            format: LogFormat::Text,
            level: LogLevel::Info,
        };
        let refused = subscriber(&log, Some("probity=loud"), false, std::io::sink);
        let message = refused.err().unwrap().to_string();
        assert!(
            message.starts_with("environment variable PROBITY_LOG: is \"probity=loud\"; write")
        );
    }
}
