//! Operations go through their phases once, and end.

use std::collections::BTreeSet;
use std::time::Duration;

use pilotlight_core::{
    Ending, Moment, Operation, OperationAction as Act, OperationInput as In, OperationRefusal, Stage,
};

const TIMEOUT: Duration = Duration::from_secs(3600);

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn needs() -> Vec<BTreeSet<String>> {
    vec![names(&["terminal", "container"]), names(&["truck_plate"]), names(&["time"])]
}

fn at(seconds: u64) -> Moment {
    Moment(seconds * 1000)
}

#[test]
fn with_everything_given_it_goes_through() {
    let mut operation = Operation::new(needs(), TIMEOUT, at(0));
    let given = names(&["terminal", "container", "truck_plate", "time"]);
    assert_eq!(operation.step(at(0), In::Continue(given)), Ok(vec![Act::Record, Act::Run(0)]));
    assert_eq!(operation.step(at(1), In::PhaseEnded(true)), Ok(vec![Act::Record, Act::Run(1)]));
    assert_eq!(operation.step(at(2), In::PhaseEnded(true)), Ok(vec![Act::Record, Act::Run(2)]));
    assert_eq!(operation.step(at(3), In::PhaseEnded(true)), Ok(vec![Act::Record, Act::Release]));
    assert_eq!(operation.stage(), &Stage::Ended { ending: Ending::Done, at: at(3) });
}

#[test]
fn what_is_missing_is_asked_for_where_it_is_needed() {
    let mut operation = Operation::new(needs(), TIMEOUT, at(0));
    let given = names(&["terminal", "container", "time"]);
    operation.step(at(0), In::Continue(given)).unwrap();
    assert_eq!(operation.step(at(5), In::PhaseEnded(true)), Ok(vec![Act::Record]));
    assert_eq!(operation.missing(), ["truck_plate"]);
    // A request that does not bring it asks again, and has it wait for longer.
    assert_eq!(operation.step(at(60), In::Continue(names(&[]))), Ok(vec![Act::Record]));
    assert_eq!(operation.stage(), &Stage::Waiting { phase: 1, expires_at: at(60) + TIMEOUT });
    let given = names(&["truck_plate"]);
    assert_eq!(operation.step(at(61), In::Continue(given)), Ok(vec![Act::Record, Act::Run(1)]));
    assert_eq!(operation.step(at(62), In::Continue(names(&[]))), Err(OperationRefusal::Running));
}

#[test]
fn nobody_waits_for_ever() {
    let mut operation = Operation::new(needs(), TIMEOUT, at(0));
    operation.step(at(0), In::Continue(names(&[]))).unwrap();
    assert_eq!(operation.step(at(3599), In::Tick), Ok(vec![]));
    assert_eq!(operation.step(at(3600), In::Tick), Ok(vec![Act::Record, Act::Release]));
    let refused = operation.step(at(3601), In::Continue(names(&["terminal"])));
    assert_eq!(refused, Err(OperationRefusal::Ended(Ending::Expired)));
}

#[test]
fn a_phase_that_was_running_is_not_run_again() {
    let mut operation = Operation::new(needs(), TIMEOUT, at(0));
    operation.step(at(0), In::Continue(names(&["terminal", "container"]))).unwrap();
    assert_eq!(operation.step(at(1), In::Resumed), Ok(vec![Act::Record, Act::Release]));
    assert_eq!(operation.stage(), &Stage::Ended { ending: Ending::Interrupted, at: at(1) });
    // The phase's own end, should anybody still tell of it, changes nothing.
    assert_eq!(operation.step(at(2), In::PhaseEnded(true)), Ok(vec![]));
}
