//! Callers that say themselves what is done.

use super::*;
use support::{Door, wait_at, watchdog};

fn confirmed(place: &Place) -> Journal {
    Journal::at(place.journal()).confirmed(true)
}

#[test]
fn only_what_was_confirmed_is_done() {
    let _watch = watchdog();
    for pool in pools() {
        let place = Place::new();
        let task = place.task(&pool, confirmed(&place), [0, 1, 2, 3, 4]);
        let confirmer = task.confirmer();
        for (number, result) in task.iter_completed() {
            if result.is_ok() && number != 2 {
                confirmer.confirm(number).unwrap();
            }
        }
        drop(confirmer);
        // The failure, and three that were confirmed.
        assert_eq!(recorded(&place.journal()), (3, 1));
        place.ran();
        let task = place.task(&pool, confirmed(&place), [0, 1, 2, 3, 4]);
        assert_eq!(task.resumed(), 3);
        let confirmer = task.confirmer();
        let kinds = task.get_each().into_iter().map(outcome_of).collect::<Vec<_>>();
        let done = Err(ErrorKind::AlreadyDone);
        assert_eq!(kinds, [done, done, Ok(4), Err(ErrorKind::Failed), done]);
        assert_eq!(place.ran(), [2, 3]);
        assert_eq!(confirmer.confirm(3).unwrap_err().kind(), ErrorKind::Config);
        // Again, and once more what was confirmed in an earlier run.
        for number in [2, 2, 0] {
            confirmer.confirm(number).unwrap();
        }
        drop(confirmer);
        assert_eq!(recorded(&place.journal()).0, 4);
    }
}

#[test]
fn a_confirmation_of_what_is_not_done_is_refused() {
    let _watch = watchdog();
    let pool = support::pool(1);
    let place = Place::new();
    let door = Door::closed();
    let mut task = journalled::<u64>(&pool, confirmed(&place));
    for number in [13, 1] {
        task.try_run(
            |door: String, number: u64| -> Result<u64, String> {
                if number == 13 {
                    return Err("refused".to_string());
                }
                wait_at(&door);
                Ok(number)
            },
            door.path(),
            number,
        );
    }
    let confirmer = task.confirmer();
    let refused = |number: usize| {
        let error = confirmer.confirm(number).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        error.to_string()
    };
    assert_eq!(task.next_completed().unwrap().0, 0);
    assert_eq!(refused(0), "piece 0 cannot be confirmed: it has failed");
    assert_eq!(refused(1), "piece 1 cannot be confirmed: it is not done");
    assert_eq!(refused(2), "piece 2 cannot be confirmed: the task has 2 pieces");
    door.open();
    assert_eq!(task.next_completed().unwrap().0, 1);
    confirmer.confirm(1).unwrap();
    // The task is gone, and its pieces are still known.
    drop(task);
    confirmer.confirm(1).unwrap();
    assert_eq!(refused(0), "piece 0 cannot be confirmed: it has failed");
    let plain = journalled::<u64>(&pool, place.folder.path().join("plain"));
    assert_eq!(plain.confirmer().confirm(0).unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(new_task::<u64>(&pool).confirmer().confirm(0).unwrap_err().kind(), ErrorKind::Config);
}

/// The file stays locked as long as there is a confirmer, from whatever thread it confirms.
#[test]
fn a_confirmer_outlives_its_task_and_keeps_the_journal() {
    let _watch = watchdog();
    for pool in pools() {
        let place = Place::new();
        let task = place.task(&pool, confirmed(&place), [0, 1, 2]);
        let confirmer = task.confirmer();
        assert_eq!(task.get().unwrap(), [0, 2, 4]);
        let error = new_task::<u64>(&pool).journal(confirmed(&place)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Journal);
        let others: Vec<_> = (0..3).map(|number| (number, confirmer.clone())).collect();
        drop(confirmer);
        std::thread::scope(|scope| {
            for (number, confirmer) in others {
                scope.spawn(move || confirmer.confirm(number).unwrap());
            }
        });
        // Unlocked, and all of it written.
        let task = place.task(&pool, confirmed(&place), [0, 1, 2]);
        assert_eq!(task.resumed(), 3);
    }
}

/// An outcome of a journal without confirmations says nothing about what the caller has kept.
#[test]
fn what_was_only_done_is_not_confirmed() {
    let _watch = watchdog();
    let pool = support::pool(2);
    let place = Place::new();
    assert_eq!(place.task(&pool, place.journal(), [0, 1]).get().unwrap(), [0, 2]);
    let task = place.task(&pool, confirmed(&place), [0, 1]);
    assert_eq!(task.resumed(), 0);
    let confirmer = task.confirmer();
    task.get().unwrap();
    confirmer.confirm(0).unwrap();
    drop(confirmer);
    // The other way round it is done, and its result is lost.
    let task = place.task(&pool, place.journal(), [0, 1]);
    let kinds = task.get_each().into_iter().map(outcome_of).collect::<Vec<_>>();
    assert_eq!(kinds, [Err(ErrorKind::AlreadyDone), Ok(2)]);
}
