//! What must hold of the topics before an event is scored, and how to mend what does not. Pure.
//!
//! A promise is as strong as its weakest topic: a score may not be safer than its evidence, and
//! evidence that expires is no evidence.

use std::collections::BTreeMap;

use crate::words::counted;

/// One topic, as the cluster describes it.
#[derive(Clone, Debug, Default)]
pub struct Description {
    pub partitions: i32,
    /// The smallest replication factor of its partitions.
    pub replicas: usize,
    pub config: BTreeMap<String, String>,
}

impl Description {
    fn number(&self, key: &str) -> Option<i64> {
        self.config.get(key)?.parse().ok()
    }

    fn text(&self, key: &str) -> &str {
        self.config.get(key).map_or("", String::as_str)
    }
}

/// What is checked together. A topic that does not exist is None.
#[derive(Debug)]
pub struct Cluster<'a> {
    pub input: (&'a str, Option<Description>),
    pub scored: (&'a str, Option<Description>),
    pub evidence: (&'a str, Option<Description>),
    pub dead_letter: (&'a str, Option<Description>),
    pub checkpoints: (&'a str, Option<Description>),
    /// Topics that the brokers keep for themselves, where they already exist.
    pub internal: Vec<(&'a str, Description)>,
    pub message_bytes_max: usize,
    pub allow_single_replica: bool,
}

/// One thing that was looked at. `fix` is empty where it is well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub what: String,
    pub fix: Option<String>,
}

impl Finding {
    pub fn of(well: bool, what: impl Into<String>, fix: impl FnOnce() -> String) -> Finding {
        Finding {
            what: what.into(),
            fix: (!well).then(fix),
        }
    }

    #[must_use]
    pub fn is_well(&self) -> bool {
        self.fix.is_none()
    }
}

/// Looks at everything; says each thing once.
#[must_use]
pub fn judge(cluster: &Cluster<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (input_name, input) = &cluster.input;
    findings.push(Finding::of(
        input.is_some(),
        format!("topic {input_name} exists"),
        || format!("create `{input_name}`, or mend input.topic"),
    ));
    let partitions = input.as_ref().map(|input| input.partitions);
    for (name, topic) in [&cluster.scored, &cluster.evidence, &cluster.dead_letter] {
        findings.push(Finding::of(
            topic.is_some(),
            format!("topic {name} exists"),
            || "run `probity topics create`".to_owned(),
        ));
        let Some(topic) = topic else { continue };
        findings.push(size(name, topic, cluster.message_bytes_max));
        if *name != cluster.dead_letter.0
            && let Some(partitions) = partitions
        {
            findings.push(count(name, topic.partitions, partitions));
        }
    }
    let (name, checkpoints) = &cluster.checkpoints;
    findings.push(Finding::of(
        checkpoints.is_some(),
        format!("topic {name} exists"),
        || "run `probity topics create`".to_owned(),
    ));
    if let Some(checkpoints) = checkpoints {
        let loss = "checkpoints are what a restored backup is noticed by";
        findings.extend(kept(name, checkpoints, loss));
    }
    if let (Some(scored), Some(evidence)) = (&cluster.scored.1, &cluster.evidence.1) {
        let loss = "evidence must not expire before it is archived";
        findings.extend(kept(cluster.evidence.0, evidence, loss));
        findings.extend(safe(cluster, scored, evidence));
    }
    findings
}

fn size(name: &str, topic: &Description, wanted: usize) -> Finding {
    let max = topic.number("max.message.bytes").unwrap_or(i64::MAX);
    let fits = i64::try_from(wanted).is_ok_and(|wanted| max >= wanted);
    Finding::of(fits, format!("{name}: max.message.bytes is {max}"), || {
        format!(
            "set max.message.bytes of `{name}` to at least {wanted} (output.message_bytes_max), or \
             lower the latter"
        )
    })
}

fn count(name: &str, is: i32, wanted: i32) -> Finding {
    let told = format!("{name}: {}", counted(is, "partition"));
    Finding::of(is == wanted, told, || {
        if is < wanted {
            format!("add partitions to `{name}`: the input has {wanted}")
        } else {
            format!(
                "`{name}` has more partitions than the input, {wanted}; it is another pipeline's?"
            )
        }
    })
}

/// A topic that must lose nothing by itself; `loss` says why.
fn kept(name: &str, topic: &Description, loss: &str) -> Vec<Finding> {
    let wanted = [
        ("cleanup.policy", "delete"),
        ("retention.ms", "-1"),
        ("retention.bytes", "-1"),
    ];
    wanted
        .into_iter()
        .map(|(key, wanted)| {
            let is = topic.text(key);
            Finding::of(is == wanted, format!("{name}: {key} is {is}"), || {
                format!("set {key}={wanted} on `{name}`: {loss}")
            })
        })
        .collect()
}

fn safe(cluster: &Cluster<'_>, scored: &Description, evidence: &Description) -> Vec<Finding> {
    let name = cluster.evidence.0;
    let mut findings = Vec::new();
    let (is, wanted) = (evidence.replicas, scored.replicas);
    findings.push(Finding::of(
        is >= wanted,
        format!("{name}: {}", counted(is, "replica")),
        || format!("replicate `{name}` at least {wanted} times, as the scored topic"),
    ));
    let key = "min.insync.replicas";
    let (is, wanted) = (
        evidence.number(key).unwrap_or(0),
        scored.number(key).unwrap_or(0),
    );
    findings.push(Finding::of(
        is >= wanted,
        format!("{name}: {key} is {is}"),
        || format!("set {key} of `{name}` to at least {wanted}, as of the scored topic"),
    ));
    let key = "unclean.leader.election.enable";
    let is = evidence.text(key);
    findings.push(Finding::of(
        is == "false",
        format!("{name}: {key} is {is}"),
        || {
            format!(
                "set {key}=false on `{name}`: an unclean election loses evidence of visible scores"
            )
        },
    ));
    if cluster.allow_single_replica {
        return findings;
    }
    let durable = evidence.replicas >= 2 && evidence.number("min.insync.replicas") >= Some(2);
    findings.push(Finding::of(durable, format!("{name}: survives the loss of a broker"), || {
        format!(
            "give `{name}` at least 2 replicas (better 3) and min.insync.replicas=2; for a test, set \
             output.allow_single_replica = true"
        )
    }));
    for (internal, topic) in &cluster.internal {
        let (is, wanted) = (topic.replicas, evidence.replicas);
        findings.push(Finding::of(
            is >= wanted,
            format!("{internal}: {}", counted(is, "replica")),
            || format!("replicate `{internal}` at least {wanted} times: exactly-once hangs on it"),
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(changes: &[(&str, &str)]) -> Description {
        let mut config: BTreeMap<String, String> = [
            ("max.message.bytes", "4194304"),
            ("min.insync.replicas", "2"),
            ("unclean.leader.election.enable", "false"),
            ("cleanup.policy", "delete"),
            ("retention.ms", "-1"),
            ("retention.bytes", "-1"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        for (key, value) in changes {
            config.insert((*key).to_owned(), (*value).to_owned());
        }
        Description {
            partitions: 4,
            replicas: 3,
            config,
        }
    }

    fn cluster() -> Cluster<'static> {
        Cluster {
            input: ("in", Some(topic(&[]))),
            scored: ("in.scored", Some(topic(&[("retention.ms", "604800000")]))),
            evidence: ("in.evidence", Some(topic(&[]))),
            dead_letter: ("in.dlq", Some(topic(&[]))),
            checkpoints: ("in.checkpoints", Some(topic(&[]))),
            internal: vec![("__transaction_state", topic(&[]))],
            message_bytes_max: 2 << 20,
            allow_single_replica: false,
        }
    }

    fn fixes(cluster: &Cluster<'_>) -> Vec<String> {
        judge(cluster)
            .into_iter()
            .filter_map(|finding| finding.fix)
            .collect()
    }

    #[track_caller]
    fn one_fix(cluster: &Cluster<'_>, words: &str) {
        let fixes = fixes(cluster);
        assert_eq!(fixes.len(), 1, "{fixes:?}");
        assert!(fixes[0].contains(words), "{fixes:?}");
    }

    #[test]
    fn a_sound_cluster_has_no_fixes() {
        assert_eq!(fixes(&cluster()), Vec::<String>::new());
    }

    #[test]
    fn each_weakness_is_found_with_its_fix() {
        let evidence = |changes| Some(topic(changes));
        let name = "in.evidence";
        let with = |evidence| Cluster {
            evidence: (name, evidence),
            ..cluster()
        };
        one_fix(
            &with(evidence(&[("retention.ms", "604800000")])),
            "retention.ms=-1",
        );
        one_fix(
            &with(evidence(&[("cleanup.policy", "compact")])),
            "cleanup.policy=delete",
        );
        one_fix(
            &with(evidence(&[("max.message.bytes", "1048588")])),
            "max.message.bytes",
        );
        one_fix(
            &with(evidence(&[("unclean.leader.election.enable", "true")])),
            "unclean",
        );
        let fewer = Description {
            partitions: 3,
            ..topic(&[])
        };
        one_fix(
            &with(Some(fewer)),
            "add partitions to `in.evidence`: the input has 4",
        );
        let weaker = Description {
            replicas: 2,
            ..topic(&[])
        };
        one_fix(&with(Some(weaker)), "at least 3 times");
        one_fix(&with(None), "topics create");
        let checkpoints = |topic| Cluster {
            checkpoints: ("in.checkpoints", topic),
            ..cluster()
        };
        one_fix(&checkpoints(None), "topics create");
        let expires = Some(topic(&[("retention.ms", "604800000")]));
        one_fix(&checkpoints(expires), "retention.ms=-1 on `in.checkpoints`");
        let internal = vec![(
            "__consumer_offsets",
            Description {
                replicas: 1,
                ..topic(&[])
            },
        )];
        one_fix(
            &Cluster {
                internal,
                ..cluster()
            },
            "__consumer_offsets",
        );
    }

    #[test]
    fn one_replica_needs_an_explicit_word() {
        let single = || {
            Some(Description {
                replicas: 1,
                ..topic(&[("min.insync.replicas", "1")])
            })
        };
        let weak = |allow_single_replica| Cluster {
            scored: ("in.scored", single()),
            evidence: ("in.evidence", single()),
            internal: Vec::new(),
            allow_single_replica,
            ..cluster()
        };
        one_fix(&weak(false), "allow_single_replica");
        assert_eq!(fixes(&weak(true)), Vec::<String>::new());
    }
}
