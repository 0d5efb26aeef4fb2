//! Security groups: the union of an interface's groups, compiled once for each distinct set (semantics 35-44).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use atoll_memory::prefetch;
use atoll_model::{Direction, Peer, SecurityGroup, SecurityGroupId, SecurityGroupRuleId, Traffic};
use atoll_net::Prefix;
use hashbrown::HashMap;

use crate::classify::{PrefixIndex, TrafficTable};
use crate::component::{Changed, Component};
use crate::fabric::Fabric;
use crate::flows::{Effect, FlowKey, FlowView, Slot, State};
use crate::journey::{Halt, Journey};
use crate::network_interface::Interface;
use crate::packet::{protocol, reversed_key, rule_key};
use crate::stage::Stage;
use crate::trace::{Decision, Place, Recorder, RuleRef};
use crate::tracking;

/// The rules of a set of groups, both directions.
#[derive(Debug, Default)]
pub(crate) struct GroupSet {
    ingress: Side,
    egress: Side,
}

/// The rules of one direction.
#[derive(Debug, Default)]
pub(crate) struct Side {
    /// By number: what the tables answer.
    rules: Box<[(SecurityGroupId, SecurityGroupRuleId)]>,
    index: PrefixIndex,
    /// By node of the index.
    blocks: Box<[TrafficTable]>,
    /// The tables of 0.0.0.0/0 and ::/0, if there are any.
    all: [Option<u32>; 2],
    groups: HashMap<SecurityGroupId, TrafficTable>,
}

/// What a rule allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Allowed {
    pub(crate) rule: RuleRef,
    /// Whether it allows every address.
    pub(crate) open: bool,
}

fn family_index(addr: IpAddr) -> usize {
    usize::from(addr.is_ipv6())
}

impl Side {
    fn new<'a>(groups: impl Iterator<Item = &'a SecurityGroup>, direction: Direction) -> Side {
        let mut rules = Vec::new();
        let mut blocks: BTreeMap<Prefix, Vec<(Traffic, u16)>> = BTreeMap::new();
        let mut by_group: BTreeMap<SecurityGroupId, Vec<(Traffic, u16)>> = BTreeMap::new();
        for group in groups {
            for (id, rule) in group.rules_of(direction) {
                // At most 1000 rules stand on an interface (semantics 52); what a number cannot hold is dropped
                // with the rules' allowance, never allowed.
                let Ok(number) = u16::try_from(rules.len()) else {
                    break;
                };
                rules.push((group.id, id));
                match rule.peer {
                    Peer::Cidr { block } => blocks.entry(block).or_default().push((rule.traffic, number)),
                    Peer::Group {
                        id, peering: None, ..
                    } => by_group.entry(id).or_default().push((rule.traffic, number)),
                    // No peering and no prefix list exists yet: such a rule is stale and matches nothing
                    // (semantics 40).
                    Peer::Group { peering: Some(_), .. } | Peer::PrefixList { .. } => {}
                }
            }
        }
        let prefixes: Vec<Prefix> = blocks.keys().copied().collect();
        let node_of = |all: Prefix| {
            prefixes
                .binary_search(&all)
                .ok()
                .and_then(|i| u32::try_from(i).ok())
        };
        Side {
            rules: rules.into(),
            index: PrefixIndex::new(&prefixes),
            all: [node_of(Prefix::ALL_V4), node_of(Prefix::ALL_V6)],
            blocks: blocks.values().map(|rules| TrafficTable::new(rules)).collect(),
            groups: by_group
                .into_iter()
                .map(|(id, rules)| (id, TrafficTable::new(&rules)))
                .collect(),
        }
    }

    /// Has the table fetched in which a packet from or to there will be looked for.
    pub(crate) fn ask_for(&self, far: IpAddr) {
        if let Some(table) = self
            .index
            .containing(far)
            .next()
            .and_then(|node| self.blocks.get(node))
        {
            prefetch(table);
        }
    }

    /// Whether there is no rule at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a rule speaks of groups, so that it matters which groups the far side is in.
    pub(crate) fn has_references(&self) -> bool {
        !self.groups.is_empty()
    }

    fn rule(&self, number: u16) -> Option<RuleRef> {
        self.rules
            .get(usize::from(number))
            .map(|(group, rule)| RuleRef::SecurityGroup {
                group: *group,
                rule: *rule,
            })
    }

    fn open(&self, far: IpAddr, protocol: u8, key: Option<u16>) -> Option<u16> {
        let node = self.all.get(family_index(far)).copied().flatten()?;
        self.blocks.get(node as usize)?.find(protocol, key)
    }

    /// The block rule that allows a packet: one about every address first, else the one with the longest prefix.
    #[inline]
    pub(crate) fn allows_address(&self, far: IpAddr, protocol: u8, key: Option<u16>) -> Option<Allowed> {
        let allowed = |number: u16, open: bool| self.rule(number).map(|rule| Allowed { rule, open });
        if let Some(number) = self.open(far, protocol, key) {
            return allowed(number, true);
        }
        self.index
            .containing(far)
            .find_map(|node| self.blocks.get(node)?.find(protocol, key))
            .and_then(|number| allowed(number, false))
    }

    /// The rule that allows a packet because of the far interface's groups (semantics 38).
    #[inline]
    pub(crate) fn allows_groups(
        &self,
        far: &[SecurityGroupId],
        protocol: u8,
        key: Option<u16>,
    ) -> Option<Allowed> {
        far.iter()
            .find_map(|group| self.groups.get(group)?.find(protocol, key))
            .and_then(|number| self.rule(number))
            .map(|rule| Allowed { rule, open: false })
    }

    /// Whether every address is allowed for this key.
    pub(crate) fn is_open(&self, far: IpAddr, protocol: u8, key: Option<u16>) -> bool {
        self.open(far, protocol, key).is_some()
    }

    /// Whether every address is allowed on every port.
    pub(crate) fn is_wide_open(&self, far: IpAddr, protocol: u8) -> bool {
        self.open(far, protocol, None).is_some()
    }
}

impl GroupSet {
    fn new<'a>(groups: impl Iterator<Item = &'a SecurityGroup> + Clone) -> GroupSet {
        GroupSet {
            ingress: Side::new(groups.clone(), Direction::Ingress),
            egress: Side::new(groups, Direction::Egress),
        }
    }

    /// The rules of a direction, and those of the other one.
    pub(crate) fn sides(&self, direction: Direction) -> (&Side, &Side) {
        match direction {
            Direction::Ingress => (&self.ingress, &self.egress),
            Direction::Egress => (&self.egress, &self.ingress),
        }
    }
}

/// The distinct sets of groups that interfaces have.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupSets {
    entries: Vec<Entry>,
    free: Vec<u32>,
    by_groups: HashMap<Box<[SecurityGroupId]>, u32>,
    by_group: HashMap<SecurityGroupId, BTreeSet<u32>>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    groups: Box<[SecurityGroupId]>,
    compiled: Arc<GroupSet>,
    members: u32,
}

impl GroupSets {
    #[inline]
    pub(crate) fn get(&self, set: Slot) -> Option<&GroupSet> {
        self.entries.get(set.0 as usize).map(|entry| &*entry.compiled)
    }

    /// The groups of a set, in order.
    #[inline]
    pub(crate) fn groups(&self, set: Slot) -> &[SecurityGroupId] {
        self.entries
            .get(set.0 as usize)
            .map_or(&[], |entry| &entry.groups)
    }
}

impl Fabric {
    pub(crate) fn put_security_group(&mut self, row: &Arc<SecurityGroup>, changed: &mut Changed) {
        let old = self.group_rows.insert(row.id, Arc::clone(row));
        let means_the_same = |old: &SecurityGroup| {
            old.rules.len() == row.rules.len()
                && old.rules.iter().zip(&row.rules).all(|((a, x), (b, y))| {
                    a == b && (x.direction, x.traffic, x.peer) == (y.direction, y.traffic, y.peer)
                })
        };
        if old.is_none_or(|old| !means_the_same(&old)) {
            self.recompile_sets_of(row.id, changed);
        }
    }

    pub(crate) fn delete_security_group(&mut self, id: SecurityGroupId, changed: &mut Changed) {
        if self.group_rows.remove(&id).is_some() {
            self.recompile_sets_of(id, changed);
        }
    }

    fn compile(&self, groups: &[SecurityGroupId]) -> Arc<GroupSet> {
        let rows = groups
            .iter()
            .filter_map(|id| self.group_rows.get(id).map(|row| &**row));
        Arc::new(GroupSet::new(rows))
    }

    fn recompile_sets_of(&mut self, id: SecurityGroupId, changed: &mut Changed) {
        let sets: Vec<u32> = self
            .sets
            .by_group
            .get(&id)
            .into_iter()
            .flatten()
            .copied()
            .collect();
        for set in sets {
            let Some(groups) = self.sets.entries.get(set as usize).map(|e| e.groups.clone()) else {
                continue;
            };
            let compiled = self.compile(&groups);
            if let Some(entry) = self.sets.entries.get_mut(set as usize) {
                entry.compiled = compiled;
                changed.add(Component::group_set(Slot(set)));
            }
        }
    }

    /// The set of these groups (sorted, each once), compiled when it is new, with one more member.
    pub(crate) fn join_set(&mut self, groups: &[SecurityGroupId], changed: &mut Changed) -> Slot {
        if let Some(set) = self.sets.by_groups.get(groups) {
            if let Some(entry) = self.sets.entries.get_mut(*set as usize) {
                entry.members += 1;
            }
            return Slot(*set);
        }
        let entry = Entry {
            groups: groups.into(),
            compiled: self.compile(groups),
            members: 1,
        };
        let set = match self.sets.free.pop() {
            Some(set) => set,
            None => {
                self.sets.entries.push(Entry::default());
                (self.sets.entries.len() - 1) as u32
            }
        };
        if let Some(place) = self.sets.entries.get_mut(set as usize) {
            *place = entry;
        }
        self.sets.by_groups.insert(groups.into(), set);
        for group in groups {
            self.sets.by_group.entry(*group).or_default().insert(set);
        }
        changed.add(Component::group_set(Slot(set)));
        Slot(set)
    }

    /// One member less; the last one takes the set with it.
    pub(crate) fn leave_set(&mut self, set: Slot) {
        let Some(entry) = self.sets.entries.get_mut(set.0 as usize) else {
            return;
        };
        entry.members = entry.members.saturating_sub(1);
        if entry.members > 0 {
            return;
        }
        let groups = std::mem::take(entry).groups;
        self.sets.by_groups.remove(&groups);
        for group in &groups {
            if let Some(sets) = self.sets.by_group.get_mut(group) {
                sets.remove(&set.0);
                if sets.is_empty() {
                    self.sets.by_group.remove(group);
                }
            }
        }
        self.sets.free.push(set.0);
    }
}

impl<'a, V: FlowView + ?Sized, R: Recorder + ?Sized> Journey<'a, V, R> {
    /// An interface's groups let a packet pass because it belongs to a tracked connection, or by a rule. Answers
    /// what is to be tracked once the packet has really gone on.
    #[inline]
    pub(crate) fn passes_security_groups(
        &mut self,
        interface: &'a Interface,
        direction: Direction,
    ) -> Result<Option<Effect>, Halt> {
        let outbound = direction == Direction::Egress;
        let here = Place::SecurityGroups(interface.id, direction);
        let key = tracking::flow_key(&self.packet, outbound);
        let continued = key.and_then(|key| {
            let state = self.tracked(interface.slot, &key)?;
            tracking::continued(state, tracking::flags(&self.packet), outbound).map(|state| (key, state))
        });
        if let Some((key, state)) = continued {
            self.record(here, Decision::Established, None); // semantics 43
            return Ok(Some(self.remembered(interface, key, state, true)));
        }
        self.depends(Component::group_set(interface.set));
        let sides = self
            .fabric
            .sets
            .get(interface.set)
            .map(|set| set.sides(direction));
        let Some((side, other)) = sides else {
            return Err(self.halt(Stage::SecurityGroupEmpty, here, None));
        };
        let far = if outbound {
            self.packet.dst
        } else {
            self.packet.src
        };
        let (number, rule_key) = (self.packet.protocol, rule_key(&self.packet));
        let allowed = side.allows_address(far, number, rule_key).or_else(|| {
            if !side.has_references() {
                return None;
            }
            // semantics 38: the groups of the interface that has the private address
            let far = if outbound {
                self.owner_of(interface.vpc, far)
            } else {
                self.identity.and_then(|id| self.interface(id))
            };
            side.allows_groups(self.fabric.sets.groups(far?.set), number, rule_key)
        });
        let Some(allowed) = allowed else {
            if let Some(key) = &key {
                self.wants(Component::connection(interface.slot, key));
            }
            let stage = match direction {
                _ if side.is_empty() => Stage::SecurityGroupEmpty, // semantics 35
                Direction::Ingress => Stage::SecurityGroupIngress,
                Direction::Egress => Stage::SecurityGroupEgress,
            };
            return Err(self.halt(stage, here, None));
        };
        // semantics 44: open to every address this way and on every port the other way; a reply of such a flow
        // looks the same with its ports turned.
        let has_ports = number == protocol::TCP || number == protocol::UDP;
        let untracked = has_ports
            && !self.automatic
            && ((allowed.open && other.is_wide_open(far, number))
                || (side.is_wide_open(far, number)
                    && other.is_open(far, number, reversed_key(&self.packet))));
        let key = key.filter(|_| !untracked);
        self.record(
            here,
            Decision::Allowed {
                tracked: key.is_some(),
            },
            Some(allowed.rule),
        );
        let Some(key) = key else {
            return Ok(None);
        };
        if self.tracked(interface.slot, &key).is_none() && !self.flows.has_room(interface.slot, &key) {
            return Err(self.halt(Stage::TableFull, here, None)); // semantics 48
        }
        let state = tracking::begun(tracking::flags(&self.packet), outbound);
        Ok(Some(self.remembered(interface, key, state, false)))
    }

    fn remembered(&mut self, interface: &Interface, key: FlowKey, state: State, known: bool) -> Effect {
        let hold = tracking::hold(key.protocol, state, known, &interface.timeouts);
        self.hold = self.hold.min(hold);
        Effect::Track {
            owner: interface.slot,
            key,
            state,
            timeout: tracking::timeout(key.protocol, state, &interface.timeouts),
            begins: !known,
        }
    }
}
