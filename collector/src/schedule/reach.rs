//! Which trials can still become valid, by what each needs of others.

use std::collections::BTreeMap;

/// What decides whether a trial can still become valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// It is, or its attempt has begun.
    Valid,
    /// When all it needs can.
    ByNeeds,
    /// It cannot.
    Never,
}

/// The trials that can never become valid, by what each needs; trials that need each other are among them.
pub(super) fn unreachable(needs: &[&[u32]], reach: impl Fn(usize) -> Reach) -> Vec<usize> {
    let mut missing: Vec<usize> = needs.iter().map(|needs| needs.len()).collect();
    let mut waiting: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (trial, needs) in needs.iter().enumerate() {
        for needed in needs.iter().filter_map(|needed| usize::try_from(*needed).ok()) {
            waiting.entry(needed).or_default().push(trial);
        }
    }
    let mut is_reachable = vec![false; needs.len()];
    let is_first = |trial: &usize| match reach(*trial) {
        Reach::Valid => true,
        Reach::ByNeeds => needs[*trial].is_empty(),
        Reach::Never => false,
    };
    let mut found: Vec<usize> = (0..needs.len()).filter(is_first).collect();
    while let Some(trial) = found.pop() {
        if std::mem::replace(&mut is_reachable[trial], true) {
            continue;
        }
        for waiting in waiting.remove(&trial).unwrap_or_default() {
            missing[waiting] -= 1;
            if missing[waiting] == 0 && reach(waiting) == Reach::ByNeeds {
                found.push(waiting);
            }
        }
    }
    (0..needs.len()).filter(|trial| !is_reachable[*trial]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(needs: &[&[u32]], never: &[usize]) -> Vec<usize> {
        unreachable(needs, |trial| if never.contains(&trial) { Reach::Never } else { Reach::ByNeeds })
    }

    #[test]
    fn what_needs_a_lost_trial_is_lost_with_all_that_needs_it_in_turn() {
        let needs: [&[u32]; 5] = [&[], &[0], &[1], &[], &[3, 1]];
        assert_eq!(lost(&needs, &[]), [0usize; 0]);
        assert_eq!(lost(&needs, &[0]), [0, 1, 2, 4]);
        assert_eq!(lost(&needs, &[3]), [3, 4]);
    }

    #[test]
    fn trials_that_need_each_other_or_one_that_is_not_there_are_lost() {
        assert_eq!(lost(&[&[1], &[0], &[2], &[7], &[]], &[]), [0, 1, 2, 3]);
    }

    #[test]
    fn a_valid_trial_is_there_whatever_became_of_what_it_needed() {
        let needs: [&[u32]; 3] = [&[], &[0], &[1]];
        let reach = |trial| [Reach::Never, Reach::Valid, Reach::ByNeeds][trial];
        assert_eq!(unreachable(&needs, reach), [0]);
    }
}
