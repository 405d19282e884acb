//! The listeners and who may publish at them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::options::{StreamOptions, StreamOverrides};
use super::pattern::Pattern;
use super::schema::{Unavailable, Unlisted};
use super::sources::Sources;

/// SRT input.
#[derive(Debug, Clone)]
pub struct SrtConfig {
    /// `ingestion.srt` itself, then `ingestion.srt.listeners`.
    pub listeners: Vec<ListenerConfig>,
    /// `ingestion.streams`.
    pub rules: Rules,
    /// Bytes asked for each socket's receive buffer.
    pub receive_buffer_bytes: usize,
    /// The streams that are fetched.
    pub sources: Sources,
}

/// One listener.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// What it is called in events and metrics.
    pub name: String,
    /// Address and UDP port.
    pub listen: SocketAddr,
    /// Who may come.
    pub access: Access,
    /// Whether ids that no rule names may publish.
    pub unlisted: Unlisted,
    /// The id of a publisher that names none: a template.
    pub derived_id: String,
    /// Publishers at one time.
    pub connections_max: Option<u16>,
    /// What its streams have.
    pub options: StreamOptions,
}

/// Source networks.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Networks that may publish; empty when all may.
    pub allow: Vec<IpNet>,
    /// Networks that may not, whatever `allow` says.
    pub deny: Vec<IpNet>,
}

impl Access {
    /// Whether a caller from there may publish.
    pub(crate) fn admits(&self, source: IpAddr) -> bool {
        let any = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&source));
        !any(&self.deny) && (self.allow.is_empty() || any(&self.allow))
    }
}

/// What one element of `ingestion.streams` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// One stream.
    Id(String),
    /// All that match.
    Pattern(Pattern),
}

/// One element of `ingestion.streams`.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Which streams.
    pub named: Named,
    /// Publishers at one time under it.
    pub connections_max: Option<u16>,
    /// What those streams have.
    pub over: StreamOverrides,
}

/// `ingestion.streams`: the rule of a stream is the one that names its id, else the first whose
/// pattern matches.
#[derive(Debug, Clone, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// From the list in the file.
    pub const fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// The rule of a stream, and its place in the list.
    pub fn of(&self, id: &str) -> Option<(usize, &Rule)> {
        let exact = |rule: &Rule| matches!(&rule.named, Named::Id(named) if named == id);
        let matching =
            |rule: &Rule| matches!(&rule.named, Named::Pattern(pattern) if pattern.matches(id));
        let find =
            |test: &dyn Fn(&Rule) -> bool| self.0.iter().enumerate().find(|(_, rule)| test(rule));
        find(&exact).or_else(|| find(&matching))
    }

    /// The rule at a place.
    pub fn get(&self, place: usize) -> Option<&Rule> {
        self.0.get(place)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }
}

impl SrtConfig {
    /// No SRT at all.
    pub(crate) fn none() -> Self {
        Self {
            listeners: Vec::new(),
            rules: Rules::default(),
            receive_buffer_bytes: 0,
            sources: Sources::none(),
        }
    }

    /// What many streams may have: each listener's options, alone and under each pattern. A
    /// source of the API has the first listener's, which are among them.
    pub(crate) fn shared_options(&self) -> impl Iterator<Item = StreamOptions> {
        let pattern = |rule: &&Rule| matches!(rule.named, Named::Pattern(_));
        self.listeners.iter().flat_map(move |listener| {
            let under = self.rules.iter().filter(pattern).map(|rule| &rule.over);
            let under = under.map(|over| listener.options.with(over));
            std::iter::once(listener.options.clone()).chain(under)
        })
    }

    /// What single streams have, each with the most that any listener adds, and each source.
    pub(crate) fn single_options(&self) -> impl Iterator<Item = Vec<StreamOptions>> {
        let single = |rule: &&Rule| matches!(rule.named, Named::Id(_));
        let streams = self.rules.iter().filter(single).map(|rule| {
            self.listeners.iter().map(|listener| listener.options.with(&rule.over)).collect()
        });
        streams.chain(self.sources.list.iter().map(|source| vec![source.options.clone()]))
    }
}

/// `ingestion.authorization`, as far as the dataplane goes: the control plane asks the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authorization {
    /// How long an answer may take.
    pub timeout: Duration,
    /// What then.
    pub unavailable: Unavailable,
    /// Questions at one time.
    pub outstanding_max: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(named: &[Named]) -> Rules {
        let rule = |named: &Named| Rule {
            named: named.clone(),
            connections_max: None,
            over: StreamOverrides::default(),
        };
        Rules::new(named.iter().map(rule).collect())
    }

    #[test]
    fn an_id_goes_before_patterns_and_patterns_go_in_order() {
        let pattern = |text| Named::Pattern(Pattern::new(text));
        let rules = rules(&[pattern("live/*"), pattern("*"), Named::Id("live/a".into())]);
        let place = |id| rules.of(id).map(|(place, _)| place);
        assert_eq!((place("live/a"), place("live/b"), place("c")), (Some(2), Some(0), Some(1)));
        assert!(Rules::default().of("live/a").is_none());
    }

    #[test]
    fn deny_goes_before_allow() {
        let net = |text: &str| vec![text.parse().expect("a network")];
        let access = Access { allow: net("10.0.0.0/8"), deny: net("10.1.0.0/16") };
        let admits = |text: &str| access.admits(text.parse().expect("an address"));
        assert!(admits("10.2.0.1"));
        assert!(!admits("10.1.0.1") && !admits("192.168.0.1"));
        let access = Access { allow: Vec::new(), deny: net("::/0") };
        assert!(access.admits("10.1.0.1".parse().expect("an address")));
        assert!(!access.admits("::1".parse().expect("an address")));
    }
}
