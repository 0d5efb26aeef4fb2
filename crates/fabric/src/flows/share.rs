//! How much of the connection tables each VPC has: one that floods from many interfaces leaves the others a part.

use hashbrown::HashMap;

use atoll_model::VpcId;
use atoll_net::Family;

use super::Slot;

/// Most of a table that one VPC may have.
const MOST: (usize, usize) = (3, 4);

/// Connections by VPC and family. Owners of which no VPC is known are not bounded.
#[derive(Debug, Default)]
pub(super) struct Shares {
    numbers: HashMap<VpcId, u32>,
    /// By an owner's slot: its VPC's number and one, and its connections of each family.
    owners: Vec<(u32, [u32; 2])>,
    /// Connections of each VPC.
    held: Vec<[u32; 2]>,
}

fn place(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

impl Shares {
    /// An owner belongs to a VPC; what it has already counts.
    pub(super) fn join(&mut self, owner: Slot, vpc: VpcId) {
        let next = self.held.len() as u32;
        let number = *self.numbers.entry(vpc).or_insert(next);
        if number == next {
            self.held.push([0; 2]);
        }
        self.reach(owner);
        let (Some((of, has)), Some(held)) = (
            self.owners.get_mut(owner.0 as usize),
            self.held.get_mut(number as usize),
        ) else {
            return;
        };
        if *of == 0 {
            *of = number + 1;
            for (held, has) in held.iter_mut().zip(has) {
                *held += *has;
            }
        }
    }

    fn reach(&mut self, owner: Slot) {
        let at = owner.0 as usize;
        if at >= self.owners.len() {
            self.owners.resize((at + 1).next_power_of_two(), (0, [0; 2]));
        }
    }

    fn held(&mut self, of: u32, family: Family) -> Option<&mut u32> {
        self.held
            .get_mut((of as usize).checked_sub(1)?)?
            .get_mut(place(family))
    }

    pub(super) fn begun(&mut self, owner: Slot, family: Family) {
        self.reach(owner);
        let Some((of, has)) = self.owners.get_mut(owner.0 as usize) else {
            return;
        };
        has[place(family)] += 1;
        let of = *of;
        if let Some(held) = self.held(of, family) {
            *held += 1;
        }
    }

    pub(super) fn ended(&mut self, owner: Slot, family: Family) {
        let Some((of, has)) = self.owners.get_mut(owner.0 as usize) else {
            return;
        };
        has[place(family)] = has[place(family)].saturating_sub(1);
        let of = *of;
        if let Some(held) = self.held(of, family) {
            *held = held.saturating_sub(1);
        }
    }

    /// Whether an owner's VPC may have one more connection of a table of such a size.
    pub(super) fn has_room(&self, owner: Slot, family: Family, capacity: usize) -> bool {
        let Some((of, _)) = self.owners.get(owner.0 as usize) else {
            return true;
        };
        let number = (*of as usize).checked_sub(1);
        let held = number.and_then(|number| self.held.get(number));
        held.is_none_or(|held| (held[place(family)] as usize) < capacity * MOST.0 / MOST.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vpc_has_at_most_three_quarters_of_a_table_through_all_its_interfaces() {
        // semantics 48
        let mut shares = Shares::default();
        let (one, two) = (VpcId::new(1), VpcId::new(2));
        // What was taken up before the row came counts too.
        for _ in 0..10 {
            shares.begun(Slot(5), Family::V4);
        }
        for (slot, vpc) in [(4, one), (5, one), (6, two)] {
            shares.join(Slot(slot), vpc);
        }
        let mut taken = 10;
        while shares.has_room(Slot(4), Family::V4, 100) {
            shares.begun(Slot(4), Family::V4);
            taken += 1;
        }
        assert_eq!(taken, 75);
        assert!(!shares.has_room(Slot(5), Family::V4, 100));
        assert!(
            shares.has_room(Slot(6), Family::V4, 100),
            "another VPC has its own"
        );
        assert!(
            shares.has_room(Slot(5), Family::V6, 100),
            "the other family's table is another"
        );
        assert!(shares.has_room(Slot(9), Family::V4, 100), "no VPC is known");
        shares.ended(Slot(5), Family::V4);
        assert!(shares.has_room(Slot(4), Family::V4, 100));
    }
}
