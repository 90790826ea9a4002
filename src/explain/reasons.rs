//! From contributions of features to reasons for people: features of one group are summed, the largest sums are
//! listed.

use crate::package::Group;

/// So many groups are listed; what is left is one more entry.
const LISTED_MAX: usize = 4;

/// The code of what is in no listed group.
pub const OTHER: &str = "OTHER";

/// What a group of features adds to the margin.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Reason {
    /// An index into the package's groups; none for all that is in no listed one.
    pub group: Option<usize>,
    /// The sum over the group's features, in log-odds. Above zero it raises the risk.
    pub contribution: f64,
    /// The part of this entry in all that are listed, by size: from 0 to 1, and together 1.
    pub share: f64,
}

impl Reason {
    #[must_use]
    pub fn raises(&self) -> bool {
        self.contribution > 0.0
    }

    /// As records name it.
    #[must_use]
    pub fn direction(&self) -> &'static str {
        if self.raises() { "raises" } else { "lowers" }
    }

    #[must_use]
    pub fn code<'a>(&self, groups: &'a [Group]) -> &'a str {
        self.group.map_or(OTHER, |group| &groups[group].code)
    }
}

/// The reasons of one row, whose features contribute so much: at most four groups, the largest first and of
/// equal ones the first in the package, then the sum of everything else. What adds nothing is left out.
#[must_use]
pub fn rank(groups: &[Group], contributions: &[f64]) -> Vec<Reason> {
    let mut other: Vec<bool> = vec![true; contributions.len()];
    let sum = |features: &[usize]| -> f64 { features.iter().map(|f| contributions[*f]).sum() };
    let mut sums: Vec<(usize, f64)> = groups
        .iter()
        .enumerate()
        .map(|(index, group)| (index, sum(&group.features)))
        .filter(|(_, sum)| *sum != 0.0)
        .collect();
    sums.sort_by(|(_, a), (_, b)| b.abs().total_cmp(&a.abs()));
    sums.truncate(LISTED_MAX);
    for (group, _) in &sums {
        for feature in &groups[*group].features {
            other[*feature] = false;
        }
    }
    let rest = contributions.iter().zip(other);
    let rest: f64 = rest.filter(|(_, other)| *other).map(|(c, _)| c).sum();
    let mut reasons: Vec<(Option<usize>, f64)> = sums
        .into_iter()
        .map(|(group, sum)| (Some(group), sum))
        .collect();
    if rest != 0.0 {
        reasons.push((None, rest));
    }
    let total: f64 = reasons.iter().map(|(_, sum)| sum.abs()).sum();
    let reason = |(group, contribution): (Option<usize>, f64)| Reason {
        group,
        contribution,
        share: contribution.abs() / total,
    };
    reasons.into_iter().map(reason).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn group(code: &str, features: &[usize]) -> Group {
        Group {
            code: code.to_owned(),
            features: features.to_vec(),
            raises: BTreeMap::new(),
            lowers: BTreeMap::new(),
        }
    }

    fn said(groups: &[Group], contributions: &[f64]) -> Vec<String> {
        let reasons = rank(groups, contributions);
        let line = |r: &Reason| format!("{} {} {}", r.code(groups), r.contribution, r.share);
        reasons.iter().map(line).collect()
    }

    #[test]
    fn the_four_largest_groups_are_listed_and_the_rest_is_one_entry() {
        let groups: Vec<Group> = ["A", "B", "C", "D", "E", "F"]
            .iter()
            .enumerate()
            .map(|(i, c)| group(c, &[i]))
            .collect();
        // Of B and D, which are equally large, B is first. Feature 6 is in no group.
        let contributions = [0.25, -1.0, 0.5, 1.0, 4.0, 0.125, -0.125];
        let expected = [
            "E 4 0.5925925925925926",
            "B -1 0.14814814814814814",
            "D 1 0.14814814814814814",
            "C 0.5 0.07407407407407407",
            "OTHER 0.25 0.037037037037037035",
        ];
        assert_eq!(said(&groups, &contributions), expected);
        assert!(!rank(&groups, &contributions)[1].raises());
    }

    #[test]
    fn features_of_a_group_are_summed_and_what_adds_nothing_is_no_reason() {
        let groups = [group("A", &[0, 2]), group("B", &[1])];
        assert_eq!(said(&groups, &[1.0, 0.0, 0.5]), ["A 1.5 1"]);
        assert_eq!(said(&groups, &[1.0, 0.25, -1.0]), ["B 0.25 1"]);
        assert!(said(&groups, &[0.0; 3]).is_empty());
    }
}
