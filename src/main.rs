//! The command line: parses it, calls the library, turns the end into an exit code.

mod auditors;
mod packagers;

use std::fmt::Write as _;
use std::io::{Write as _, stderr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand, ValueEnum};

use probity::archive::operator::Loss;
use probity::config::{self, Config};
use probity::error::{Exit, Fatal, Result};
use probity::keys::{Keys, Role as KeyRole};
use probity::native::TopicIds;
use probity::pipeline::{self, Roles, Stop, Unwatched};
use probity::record::NextOffset;
use probity::setup;
use probity::sink::{Lines, Sink};
use probity::tlog::Verifier;
use probity::topics::{From, Topics};
use probity::words::counted;
use probity::{check, demo, generate, logging, score};

/// Names the configuration's file where the command line does not.
const CONFIG_VARIABLE: &str = "PROBITY_CONFIG";

/// Streaming risk scoring whose every decision can be proven.
///
/// Reads payment events from Kafka, scores them with an ONNX model, publishes the scores, and keeps
/// immutable Parquet evidence of every decision.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    /// The configuration; without it the file that PROBITY_CONFIG names, or the defaults
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets one key, over file and environment
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    sets: Vec<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything on an embedded broker with generated payments, and show the result
    Demo(Demo),
    /// Look at schema, model, keys, port, brokers, topics and archive, each with the fix
    Check(Check),
    /// Score events and archive the evidence until asked to stop
    Run(Run),
    /// Score the events of a file, by the same path and without Kafka
    Score(Score),
    /// Look at model packages, check, complete and compare them
    #[command(subcommand)]
    Model(packagers::Model),
    /// Write generated card payments, and which of them are fraud
    Generate(Generate),
    /// Create and check the topics, and say where scoring begins
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Verify an archive: nothing altered, missing or added since it was signed
    Verify(auditors::Verify),
    /// Make the proof of one decision, or check one
    Prove(auditors::Prove),
    /// Decide again what was decided, from the archive alone
    Replay(auditors::Replay),
    /// Explain one decision again, from the archive alone: its reasons, and what each feature contributed
    Explain(auditors::Explain),
    /// Show the whole life of one decision
    Show(auditors::Show),
    /// Make the keys that sign evidence and the archive
    #[command(subcommand)]
    Keys(KeysCommand),
    /// An operator's acts on the ledger: each is a signed entry
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Show what is in force
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Args)]
struct Demo {
    /// How long payments are published
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Payments a second
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// Seed of the generator
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the archive is kept; a new folder in the system's temporary place by default
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
}

#[derive(Args)]
struct Check {
    /// What the process would do
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "score,archive"
    )]
    roles: Vec<Role>,
}

#[derive(Args)]
struct Run {
    /// What this process does
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "score,archive"
    )]
    roles: Vec<Role>,
    /// On a stop, archive everything that is committed, however young
    #[arg(long)]
    seal_on_stop: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// From the input to scores and evidence
    Score,
    /// From the evidence to the archive
    Archive,
}

#[derive(Args)]
struct Score {
    /// Lines of JSON, an Avro object container or Parquet; - is standard input
    file: PathBuf,
    /// The folder of the model package, instead of the configuration's
    #[arg(long, value_name = "DIR")]
    package: Option<PathBuf>,
    /// Write the matrix of the features instead; the model need not be there yet
    #[arg(long, value_name = "FILE.parquet", conflicts_with = "out")]
    features: Option<PathBuf>,
    /// Write the events that two packages decide differently instead, and how many
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], conflicts_with_all = ["package", "features"])]
    compare: Option<Vec<PathBuf>>,
    /// Where the scored events go, instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args)]
struct Generate {
    /// The same seed gives the same payments
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many payments
    #[arg(long, value_name = "N", default_value_t = 1000)]
    events: u64,
    /// How many cards pay, about twice a day each
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(100..=i64::from(generate::Settings::MAX_CARDS)))]
    cards: u32,
    /// Fill only the required fields, near 300 bytes of JSON
    #[arg(long)]
    compact: bool,
    /// Write an Avro object container instead of lines of JSON
    #[arg(long)]
    avro: bool,
    /// Where the payments go, instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Also write a CSV file that says which payments are fraud
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
}

#[derive(Subcommand)]
enum TopicsCommand {
    /// Create what is missing, and commit the first offsets
    Create {
        /// Where scoring begins: an act, never a default
        #[arg(long, value_parser = parse_start)]
        start: From,
        /// Also create the input topic, with so many partitions
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
        partitions: Option<i32>,
        /// Replicas of what is created
        #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=32_767))]
        replicas: i32,
    },
    /// Check what must hold of the topics, each with the fix
    Check,
    /// The operator's word: go on with partitions that are refused
    Accept {
        /// Which partitions
        #[arg(long = "partition", required = true, value_name = "P")]
        partitions: Vec<i32>,
        /// Where to go on: earliest, latest, evidence (where it ends), or an offset
        #[arg(long, value_parser = parse_from, default_value = "evidence")]
        from: From,
    },
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Make a new key for each role, and the file that says whom to trust
    Init {
        /// Whose keys: a name without blanks, like bank.example
        #[arg(long)]
        name: String,
        /// Where, instead of the configuration's
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
    },
    /// Make the next key of a role, beside the one in use
    Next {
        /// log, archiver, scorer or operator
        #[arg(long, value_parser = parse_role)]
        role: KeyRole,
    },
}

#[derive(Subcommand)]
enum LedgerCommand {
    /// The operator's word: evidence of a partition is missing, and archiving goes on behind it
    Break {
        /// Which partition of the evidence topic
        #[arg(long, value_name = "P")]
        partition: i32,
        /// The position at which it goes on, or the first message after it
        #[arg(long, value_name = "POSITION")]
        at: i64,
        /// Why evidence is missing
        #[arg(long)]
        reason: String,
        /// Who says so
        #[arg(long, value_name = "NAME")]
        operator: String,
    },
    /// Take a role from a key: what it signed before stays good
    Retire {
        /// log, archiver, scorer or operator
        #[arg(long, value_parser = parse_role)]
        role: KeyRole,
        /// The key, as trust.toml has it
        #[arg(long, value_name = "KEY")]
        key: String,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print every key with its value, secrets redacted
    Show,
}

fn parse_role(text: &str) -> Result<KeyRole, String> {
    let mut roles = KeyRole::ALL.into_iter();
    let role = roles.find(|role| role.as_str() == text);
    role.ok_or_else(|| "say log, archiver, scorer or operator".to_owned())
}

fn parse_start(text: &str) -> Result<From, String> {
    match parse_from(text) {
        Ok(From::Evidence) => Err("there is no evidence before the start".to_owned()),
        Ok(from) => Ok(from),
        Err(_) => Err("say earliest, latest or an offset".to_owned()),
    }
}

fn parse_from(text: &str) -> Result<From, String> {
    match text {
        "earliest" => Ok(From::Earliest),
        "latest" => Ok(From::Latest),
        "evidence" => Ok(From::Evidence),
        number => number
            .parse()
            .ok()
            .filter(|offset| *offset >= 0)
            .map(|offset| From::At(NextOffset(offset)))
            .ok_or_else(|| "say earliest, latest, evidence or an offset".to_owned()),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // What the panic itself says was printed where it happened.
    let ended = catch_unwind(AssertUnwindSafe(|| run(&cli))).unwrap_or_else(|_| {
        let message = "this is a bug of probity; please report the lines above";
        Err(Fatal::new(Exit::Bug, message))
    });
    match ended {
        Ok(()) => ExitCode::from(Exit::Done as u8),
        Err(fatal) => {
            // Whether somebody reads it or not, the exit code is the same.
            let _ = writeln!(stderr(), "probity: {fatal}");
            ExitCode::from(fatal.exit as u8)
        }
    }
}

/// Writes to standard output, for as long as somebody reads it.
fn print(text: &str) -> Result<()> {
    let mut out = Sink::open(None)?;
    out.write(text.as_bytes())?;
    out.finish()
}

impl Command {
    /// The name of a command that reads no configuration.
    fn without_configuration(&self) -> Option<&'static str> {
        match self {
            Command::Demo(_) => Some("demo"),
            Command::Verify(_) => Some("verify"),
            Command::Prove(_) => Some("prove"),
            Command::Replay(_) => Some("replay"),
            Command::Explain(_) => Some("explain"),
            Command::Show(_) => Some("show"),
            Command::Generate(_) => Some("generate"),
            _ => None,
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    if let Some(name) = cli.command.without_configuration()
        && (cli.config.is_some() || !cli.sets.is_empty())
    {
        let message = format!("`{name}` reads no configuration; leave out --config and --set");
        return Err(Fatal::usage(message));
    }
    if let Command::Demo(arguments) = &cli.command {
        return demo::run(&demo::Options {
            seconds: arguments.seconds,
            rate: arguments.rate,
            seed: arguments.seed,
            archive: arguments.archive.clone(),
        });
    }
    match &cli.command {
        Command::Verify(arguments) => return auditors::verify(arguments),
        Command::Prove(arguments) => return auditors::prove(arguments),
        Command::Replay(arguments) => return auditors::replay(arguments),
        Command::Explain(arguments) => return auditors::explain(arguments),
        Command::Show(arguments) => return auditors::show(arguments),
        Command::Generate(arguments) => return generate(arguments),
        _ => {}
    }
    // What an alias would say, but for the commands that read none.
    let named = || std::env::var_os(CONFIG_VARIABLE).filter(|path| !path.is_empty());
    let path = cli.config.clone().or_else(|| named().map(PathBuf::from));
    let config = Config::load(path.as_deref(), &cli.sets, &config::environment())?;
    let filter = std::env::var(logging::FILTER_VARIABLE).ok();
    logging::init(&config.log, filter.as_deref())?;
    match &cli.command {
        Command::Demo(_)
        | Command::Verify(_)
        | Command::Prove(_)
        | Command::Replay(_)
        | Command::Explain(_)
        | Command::Show(_)
        | Command::Generate(_) => unreachable!("they need no configuration"),
        Command::Check(arguments) => {
            let roles = roles(&arguments.roles, false);
            check::run(&config, roles, &mut Lines::stdout())
        }
        Command::Run(arguments) => {
            let roles = roles(&arguments.roles, arguments.seal_on_stop);
            let stop = Stop::default();
            pipeline::stop_on_signals(&stop)?;
            pipeline::run(&config, roles, TopicIds::Broker, &stop, Arc::new(Unwatched))
        }
        Command::Score(arguments) => score_file(config, arguments),
        Command::Model(command) => packagers::run(&config, command),
        Command::Topics(command) => topics(&config, command),
        Command::Keys(command) => keys(&config, command),
        Command::Ledger(command) => ledger(&config, command),
        Command::Config(ConfigCommand::Show) => print(&config.to_string()),
    }
}

fn roles(named: &[Role], seal_on_stop: bool) -> Roles {
    Roles {
        score: named.contains(&Role::Score),
        archive: named.contains(&Role::Archive),
        seal_on_stop,
    }
}

fn score_file(mut config: Config, arguments: &Score) -> Result<()> {
    if let Some([old, new]) = arguments.compare.as_deref() {
        let request = score::compare::Request {
            old: old.clone(),
            new: new.clone(),
            input: arguments.file.clone(),
            output: arguments.out.clone(),
        };
        eprintln!("{}", score::compare::run(&config, &request)?);
        return Ok(());
    }
    if let Some(package) = &arguments.package {
        config.set_package(package, "--package");
    }
    let request = score::Request {
        input: arguments.file.clone(),
        output: match &arguments.features {
            Some(path) => score::Output::Features(path.clone()),
            None => score::Output::Scores(arguments.out.clone()),
        },
    };
    eprintln!("{}", score::run(&config, &request)?);
    Ok(())
}

fn generate(arguments: &Generate) -> Result<()> {
    let mut settings = generate::Settings::for_cards(arguments.cards);
    settings.seed = arguments.seed;
    if arguments.compact {
        settings.profile = generate::Profile::Compact;
    }
    generate::files::write(&generate::files::Request {
        settings,
        events: arguments.events,
        avro: arguments.avro,
        out: arguments.out.clone(),
        truth: arguments.truth.clone(),
    })
}

fn keys(config: &Config, command: &KeysCommand) -> Result<()> {
    let (name, folder) = match command {
        KeysCommand::Init { name, folder } => (name, folder),
        KeysCommand::Next { role } => {
            let (path, key) = Keys::next(&config.keys.folder, *role)?;
            return print(&format!(
                "{} has the next key of role {role}: {key}\n\
                 trust.toml names both. restart the archiver that has log.key: the ledger then gives the new \
                 key its role. put the new file in the place of the old one, and retire the old key with \
                 `probity ledger retire`\n",
                path.display()
            ));
        }
    };
    let folder = folder.as_ref().unwrap_or(&config.keys.folder);
    let trust = Keys::create(folder, name)?;
    print(&format!(
        "keys in {}: back them up, and give each process those of its roles only\n\
         trust.toml is for whoever verifies; the log key is {}\n",
        folder.display(),
        trust.log[0]
    ))
}

fn ledger(config: &Config, command: &LedgerCommand) -> Result<()> {
    let act = match command {
        LedgerCommand::Break {
            partition,
            at,
            reason,
            operator,
        } => setup::archive::Act::Break(Loss {
            partition: *partition,
            position: *at,
            reason: reason.clone(),
            operator: operator.clone(),
        }),
        LedgerCommand::Retire { role, key } => {
            let key = Verifier::parse(key)
                .map_err(|error| Fatal::usage(format!("`--key {key}` is no key")).because(error))?;
            setup::archive::Act::Retire(*role, key)
        }
    };
    print(&format!("{}\n", setup::archive::act(config, &act)?))
}

fn topics(config: &Config, command: &TopicsCommand) -> Result<()> {
    let topics = Topics::connect(config, TopicIds::Broker)?;
    let done = match command {
        TopicsCommand::Create {
            start,
            partitions,
            replicas,
        } => topics.create(*partitions, *replicas, *start)?,
        TopicsCommand::Accept { partitions, from } => topics.accept(partitions, *from)?,
        TopicsCommand::Check => {
            let findings = topics.check()?;
            let failed = findings.iter().filter(|finding| !finding.is_well()).count();
            let mut text = String::new();
            for finding in findings {
                let _ = match finding.fix {
                    None => writeln!(text, "✔ {}", finding.what),
                    Some(fix) => writeln!(text, "✘ {}\n    {fix}", finding.what),
                };
            }
            print(&text)?;
            if failed > 0 {
                let message = format!("{} must be mended first", counted(failed, "thing"));
                return Err(Fatal::new(Exit::CheckFailed, message));
            }
            return Ok(());
        }
    };
    print(
        &done
            .iter()
            .map(|sentence| format!("{sentence}\n"))
            .collect::<String>(),
    )
}
