//! `[reasons]` and `[[reason]]` of `model.toml`: how scores are explained, and the words for it.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::{Manifest, Reader};
use crate::error::Result;
use crate::package::{FeatureSpec, Group, Method, Template};

const CODE_MAX_BYTES: usize = 32;
const TEXT_MAX_CHARS: usize = 500;
const LANGUAGE_MAX_BYTES: usize = 35;
const PERMUTATIONS_MAX: i64 = 100;
const PERMUTATIONS_DEFAULT: usize = 2;

/// The code of everything that is in no group, or in none that is named.
const OTHER: &str = "OTHER";

/// What `model.toml` says of reasons, checked; the background is in a file of its own.
pub(in crate::package) struct Explaining {
    pub method: Method,
    pub background_file: String,
    pub permutations: usize,
    pub language: String,
    pub groups: Vec<Group>,
    pub other: BTreeMap<String, Template>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReasonsTable {
    method: Spanned<String>,
    background: Spanned<String>,
    permutations: Option<Spanned<i64>>,
    language: Spanned<String>,
    other: Option<Spanned<Texts>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReasonTable {
    code: Spanned<String>,
    features: Spanned<Vec<Spanned<String>>>,
    raises: Spanned<Texts>,
    lowers: Spanned<Texts>,
}

/// By language.
type Texts = BTreeMap<String, Spanned<String>>;

impl Reader<'_> {
    /// `manifest`: what was read of the rest.
    pub(super) fn reasons(
        &self,
        table: Option<Spanned<ReasonsTable>>,
        groups: Option<Spanned<Vec<ReasonTable>>>,
        manifest: &Manifest,
    ) -> Result<Option<Explaining>> {
        let (table, groups) = match (table, groups) {
            (None, None) => return Ok(None),
            (Some(table), Some(groups)) if !groups.get_ref().is_empty() => (table, groups),
            (Some(table), _) => {
                let message =
                    "`[reasons]` has no group; write at least one table [[reason]] with features";
                return Err(self.refuse(table.span(), message));
            }
            (None, Some(groups)) => {
                let message = "`[[reason]]` without `[reasons]`; write [reasons] with method, background and language";
                return Err(self.refuse(groups.span(), message));
            }
        };
        let span = table.span();
        let table = table.into_inner();
        let method = self.method(&table.method)?;
        // The file of a classifier that gives probabilities alone says its margin, if it is exact.
        if manifest.margin.is_none() && method == Method::Permutation {
            let message = "`[reasons]` without `output.margin`: reasons explain the margin, the log-odds; \
                           name the output that gives it";
            return Err(self.refuse(span, message));
        }
        let mut taken = vec![manifest.model_file.as_str()];
        taken.extend(manifest.golden_file.as_deref());
        taken.extend(manifest.reference_file.as_deref());
        taken.extend(manifest.card_file.as_deref());
        let explaining = Explaining {
            method,
            background_file: self.file_name("reasons.background", &table.background, &taken)?,
            permutations: self.permutations(method, table.permutations.as_ref())?,
            language: table.language.get_ref().clone(),
            groups: self.groups(groups.get_ref(), &manifest.features)?,
            other: match &table.other {
                Some(texts) => self.texts("other", "reasons", texts, &[], &manifest.features)?,
                None => BTreeMap::new(),
            },
        };
        let languages = &explaining.groups[0].raises;
        if !languages.contains_key(&explaining.language) {
            let message = format!(
                "`reasons.language` is {:?}, but the texts are in {}; write one of these",
                explaining.language,
                list(languages.keys())
            );
            return Err(self.refuse(table.language.span(), message));
        }
        if let Some(texts) = &table.other
            && let Some(language) = explaining
                .other
                .keys()
                .find(|it| !languages.contains_key(*it))
        {
            let message = format!(
                "`other` of `reasons` is in {language}, but the other texts in {}; write one of these",
                list(languages.keys())
            );
            return Err(self.refuse(texts.span(), message));
        }
        Ok(Some(explaining))
    }

    fn method(&self, method: &Spanned<String>) -> Result<Method> {
        let known = Method::ALL
            .into_iter()
            .find(|known| known.as_str() == method.get_ref());
        known.ok_or_else(|| {
            let mut message = format!(
                "`reasons.method` is {:?}; write one of {}",
                method.get_ref(),
                Method::ALL.map(Method::as_str).join(", ")
            );
            if method.get_ref().contains("path") {
                // What other libraries do by default, and cannot be done from the file that decides.
                message += ". Path-dependent values need to know how many training rows went where, which an ONNX file \
                            does not say; \"tree\" compares with the background instead";
            }
            self.refuse(method.span(), message)
        })
    }

    fn permutations(&self, method: Method, number: Option<&Spanned<i64>>) -> Result<usize> {
        let Some(number) = number else {
            return Ok(match method {
                Method::Tree | Method::Linear => 0,
                Method::Permutation => PERMUTATIONS_DEFAULT,
            });
        };
        if method != Method::Permutation {
            let message = format!(
                "`reasons.permutations` does nothing for the method {:?}, which is exact; leave it out",
                method.as_str()
            );
            return Err(self.refuse(number.span(), message));
        }
        let value = *number.get_ref();
        if !(1..=PERMUTATIONS_MAX).contains(&value) {
            let message = format!(
                "`reasons.permutations` is {value}; write a number from 1 to {PERMUTATIONS_MAX}"
            );
            return Err(self.refuse(number.span(), message));
        }
        Ok(usize::try_from(value).expect("it is in range"))
    }

    fn groups(&self, tables: &[ReasonTable], features: &[FeatureSpec]) -> Result<Vec<Group>> {
        let mut groups: Vec<Group> = Vec::with_capacity(tables.len());
        let mut group_of = vec![None; features.len()];
        for table in tables {
            let code = self.code(&table.code)?;
            if groups.iter().any(|group| group.code == code) {
                let message = format!("a second reason has the code `{code}`; rename one");
                return Err(self.refuse(table.code.span(), message));
            }
            let members = self.members(&code, &table.features, features)?;
            for (index, written) in members.iter().zip(table.features.get_ref()) {
                if let Some(other) = group_of[*index].replace(code.clone()) {
                    let message = format!(
                        "feature `{}` stands in `{other}` already; a feature is in one reason, so take it out of one",
                        written.get_ref()
                    );
                    return Err(self.refuse(written.span(), message));
                }
            }
            let raises = self.texts("raises", &code, &table.raises, &members, features)?;
            let lowers = self.texts("lowers", &code, &table.lowers, &members, features)?;
            let first = groups.first().map_or(&raises, |group| &group.raises);
            for (key, texts, span) in [
                ("raises", &raises, table.raises.span()),
                ("lowers", &lowers, table.lowers.span()),
            ] {
                if !texts.keys().eq(first.keys()) {
                    let message = format!(
                        "`{key}` of `{code}` is in {}, but the first text in {}; write the same languages everywhere",
                        list(texts.keys()),
                        list(first.keys())
                    );
                    return Err(self.refuse(span, message));
                }
            }
            groups.push(Group {
                code,
                features: members,
                raises,
                lowers,
            });
        }
        Ok(groups)
    }

    fn code(&self, code: &Spanned<String>) -> Result<String> {
        let text = self.plain_name("reason.code", code)?;
        if text.len() > CODE_MAX_BYTES || text == OTHER {
            let message = format!(
                "`reason.code` is {text:?}; write at most {CODE_MAX_BYTES} characters, and not {OTHER}, which stands \
                 for all that is in no reason"
            );
            return Err(self.refuse(code.span(), message));
        }
        Ok(text)
    }

    /// The indices of the features that the group `code` names.
    fn members(
        &self,
        code: &str,
        names: &Spanned<Vec<Spanned<String>>>,
        features: &[FeatureSpec],
    ) -> Result<Vec<usize>> {
        if names.get_ref().is_empty() {
            let message = format!("`features` of `{code}` is empty; name at least one feature");
            return Err(self.refuse(names.span(), message));
        }
        let index = |name: &Spanned<String>| {
            let found = features
                .iter()
                .position(|feature| feature.name == *name.get_ref());
            found.ok_or_else(|| {
                let message = format!(
                    "`features` of `{code}` has {:?}, which is no feature; write the name of a [[feature]]",
                    name.get_ref()
                );
                self.refuse(name.span(), message)
            })
        };
        names.get_ref().iter().map(index).collect()
    }

    fn texts(
        &self,
        key: &str,
        code: &str,
        texts: &Spanned<Texts>,
        members: &[usize],
        features: &[FeatureSpec],
    ) -> Result<BTreeMap<String, Template>> {
        if texts.get_ref().is_empty() {
            let message =
                format!("`{key}` of `{code}` has no text; write one like {{ en = \"…\" }}");
            return Err(self.refuse(texts.span(), message));
        }
        let member = |name: &str| {
            let named = |index: &&usize| features[**index].name == name;
            members.iter().find(named).copied()
        };
        let text = |(language, text): (&String, &Spanned<String>)| {
            let refuse = |problem: String| {
                let message = format!("`{key}.{language}` of `{code}`: {problem}");
                self.refuse(text.span(), message)
            };
            if !is_language(language) {
                let problem = "no tag of a language; write one like en, de or de-AT";
                return Err(refuse(problem.to_owned()));
            }
            let words = text.get_ref();
            if words.trim().is_empty()
                || words.chars().count() > TEXT_MAX_CHARS
                || words.contains(char::is_control)
            {
                return Err(refuse(format!(
                    "write 1 to {TEXT_MAX_CHARS} characters, in one line"
                )));
            }
            let template = Template::parse(words, member).map_err(refuse)?;
            Ok((language.clone(), template))
        };
        texts.get_ref().iter().map(text).collect()
    }
}

/// The shape of BCP 47: letters, then parts of letters and digits behind `-`.
fn is_language(text: &str) -> bool {
    let mut parts = text.split('-');
    let first = parts.next().unwrap_or_default();
    let is_part = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    text.len() <= LANGUAGE_MAX_BYTES
        && (2..=3).contains(&first.len())
        && first.bytes().all(|b| b.is_ascii_lowercase())
        && parts.all(is_part)
}

fn list<'a>(languages: impl Iterator<Item = &'a String>) -> String {
    languages.map(String::as_str).collect::<Vec<_>>().join(", ")
}
