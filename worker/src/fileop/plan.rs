use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cooper_core::model::ResultId;
use cooper_proto::pb;

use super::error::FileOpError;
use super::failure::FileOpFailure;
use super::{copy, make_directory, make_file, make_symlink, owner, remove};
use crate::confine::{Owner, Root};
use crate::limits::Limits;
use crate::meta::Pin;
use crate::snapshot::{Snapshots, Writer};

/// Asks work that blocks to end early. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// # Errors
    /// [`FileOpError::Cancelled`] once asked.
    pub(super) fn check(&self) -> Result<(), FileOpError> {
        if self.is_asked() {
            return Err(FileOpError::Cancelled);
        }
        Ok(())
    }
}

/// Performs a file op on its inputs and returns its outputs in their order, each pinned once.
///
/// An action works on an input or on what an earlier action made; -1 is the empty state. Only actions that an output
/// needs are performed. What several actions or an output take is committed; between two actions of a chain nothing
/// is.
///
/// # Errors
/// Where an index names nothing, indices go in a circle, or an action fails.
pub fn run(
    snapshots: &Snapshots,
    limits: &Limits,
    op: &pb::FileOp,
    inputs: &[ResultId],
    description: &str,
    stop: &Stop,
) -> Result<Vec<ResultId>, FileOpFailure> {
    let plan = Plan::new(op, inputs.len())?;
    let mut run = Run {
        snapshots,
        limits,
        op,
        inputs,
        description,
        stop,
        states: Vec::new(),
        left: None,
    };
    run.states.resize_with(op.actions.len(), || State::Waiting);
    for action in &plan.order {
        let done = stop.check();
        let done = done.and_then(|()| run.perform(*action, plan.is_committed[*action]));
        if let Err(error) = done {
            return Err(run.failed(error, *action));
        }
    }
    let pins = snapshots.meta().pins();
    let mut outputs = Vec::with_capacity(plan.outputs.len());
    for action in &plan.outputs {
        let State::Committed(pin) = &run.states[*action] else {
            return Err(invalid("an output was not made").into());
        };
        pins.pin(pin.result());
        outputs.push(pin.result().clone());
    }
    Ok(outputs)
}

/// Which actions are performed, in which order, and which of their states are kept.
struct Plan {
    order: Vec<usize>,
    is_committed: Vec<bool>,
    /// The action that makes each output.
    outputs: Vec<usize>,
}

impl Plan {
    fn new(op: &pb::FileOp, inputs: usize) -> Result<Self, FileOpError> {
        let outputs = outputs(op)?;
        let mut order = Vec::new();
        let mut is_committed = vec![false; op.actions.len()];
        let mut taken = vec![false; op.actions.len()];
        let mut marks = vec![Mark::New; op.actions.len()];
        for output in &outputs {
            is_committed[*output] = true;
            let mut waiting = vec![*output];
            while let Some(&action) = waiting.last() {
                match marks[action] {
                    Mark::Done => {
                        waiting.pop();
                    }
                    Mark::Open => {
                        marks[action] = Mark::Done;
                        order.push(action);
                        waiting.pop();
                    }
                    Mark::New => {
                        marks[action] = Mark::Open;
                        for (needed, is_base) in needs(&op.actions[action], inputs)? {
                            let Some(needed) = needed else { continue };
                            match marks.get(needed) {
                                None => return Err(invalid("an action's index names nothing")),
                                Some(Mark::Open) => {
                                    return Err(FileOpError::Invalid(format!(
                                        "loop from index {}",
                                        needed + inputs
                                    )));
                                }
                                Some(_) => waiting.push(needed),
                            }
                            is_committed[needed] |= !is_base || taken[needed];
                            taken[needed] = true;
                        }
                    }
                }
            }
        }
        Ok(Self {
            order,
            is_committed,
            outputs,
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    Open,
    Done,
}

/// The actions that an action needs, and whether it only goes on from there. `None` stands for an input of the op.
fn needs(
    action: &pb::FileAction,
    inputs: usize,
) -> Result<Vec<(Option<usize>, bool)>, FileOpError> {
    let mut needs = Vec::new();
    for (index, is_base) in [(action.input, true), (action.secondary_input, false)] {
        if index != -1 {
            needs.push((place(index, inputs)?, is_base));
        }
    }
    for index in owner_of(action).into_iter().flat_map(named_inputs) {
        needs.push((place(index, inputs)?, false));
    }
    Ok(needs)
}

/// The action that an index names, `None` for an input of the op.
fn place(index: i64, inputs: usize) -> Result<Option<usize>, FileOpError> {
    let index = usize::try_from(index)
        .map_err(|_| FileOpError::Invalid(format!("invalid input index {index}")))?;
    Ok(index.checked_sub(inputs))
}

fn named_inputs(owner: &pb::ChownOpt) -> impl Iterator<Item = i64> {
    let users = [owner.user.as_ref(), owner.group.as_ref()];
    users
        .into_iter()
        .flatten()
        .filter_map(|user| match &user.user {
            Some(pb::user_opt::User::ByName(named)) => Some(named.input),
            _ => None,
        })
}

fn owner_of(action: &pb::FileAction) -> Option<&pb::ChownOpt> {
    use pb::file_action::Action;
    match action.action.as_ref()? {
        Action::Copy(action) => action.owner.as_ref(),
        Action::Mkfile(action) => action.owner.as_ref(),
        Action::Mkdir(action) => action.owner.as_ref(),
        Action::Symlink(action) => action.owner.as_ref(),
        Action::Rm(_) => None,
    }
}

fn outputs(op: &pb::FileOp) -> Result<Vec<usize>, FileOpError> {
    let mut outputs = Vec::new();
    for (at, action) in op.actions.iter().enumerate() {
        if action.output == -1 {
            continue;
        }
        let index = usize::try_from(action.output)
            .map_err(|_| FileOpError::Invalid(format!("invalid output {}", action.output)))?;
        if index >= op.actions.len() {
            return Err(FileOpError::Invalid(format!(
                "missing output index below {index}"
            )));
        }
        outputs.push((index, at));
    }
    outputs.sort_unstable();
    if outputs.is_empty() {
        return Err(invalid("no outputs specified"));
    }
    for (wanted, (index, _)) in outputs.iter().enumerate() {
        if *index < wanted {
            return Err(FileOpError::Invalid(format!("duplicate output {index}")));
        }
        if *index > wanted {
            return Err(FileOpError::Invalid(format!(
                "missing output index {wanted}"
            )));
        }
    }
    Ok(outputs.into_iter().map(|(_, at)| at).collect())
}

fn invalid(what: &str) -> FileOpError {
    FileOpError::Invalid(what.to_owned())
}

/// What an action's state is at the moment.
enum State {
    Waiting,
    /// Made, and one action goes on from it.
    Open(Writer),
    /// Made and kept.
    Committed(Pin),
    /// Another action has gone on from it.
    Taken,
}

struct Run<'a> {
    snapshots: &'a Snapshots,
    limits: &'a Limits,
    op: &'a pb::FileOp,
    inputs: &'a [ResultId],
    description: &'a str,
    stop: &'a Stop,
    states: Vec<State>,
    /// What an action that failed was left in.
    left: Option<Writer>,
}

/// A directory to read, and what keeps it there.
struct Readable {
    root: Root,
    _view: crate::snapshot::View,
}

impl AsRef<Root> for Readable {
    fn as_ref(&self) -> &Root {
        &self.root
    }
}

impl Run<'_> {
    fn perform(&mut self, at: usize, commit: bool) -> Result<(), FileOpError> {
        let op = self.op;
        let action = &op.actions[at];
        let writer = self.base(action.input)?;
        let owner = owner::resolve(owner_of(action), |input| self.readable(input));
        let acted = owner.and_then(|owner| self.act(action, &writer, owner));
        if let Err(error) = acted {
            self.left = Some(writer);
            return Err(error);
        }
        self.states[at] = if commit {
            let result = writer.commit(self.description)?;
            let pins = self.snapshots.meta().pins();
            let pin = pins.hold(&result);
            pins.unpin(&result);
            State::Committed(pin)
        } else {
            State::Open(writer)
        };
        Ok(())
    }

    /// The failure of an action, with the states that are there to be looked into.
    fn failed(self, error: FileOpError, action: usize) -> FileOpFailure {
        if matches!(error, FileOpError::Cancelled) {
            return error.into();
        }
        let pins = self.snapshots.meta().pins();
        let mut states: Vec<Option<ResultId>> = self
            .states
            .iter()
            .map(|state| match state {
                State::Committed(pin) => {
                    pins.pin(pin.result());
                    Some(pin.result().clone())
                }
                State::Waiting | State::Open(_) | State::Taken => None,
            })
            .collect();
        // Who cannot look into the state still hears what failed.
        states[action] = self
            .left
            .and_then(|writer| writer.commit(self.description).ok());
        FileOpFailure {
            error,
            action: Some(action),
            states,
        }
    }

    fn act(
        &self,
        action: &pb::FileAction,
        writer: &Writer,
        owner: Option<Owner>,
    ) -> Result<(), FileOpError> {
        use pb::file_action::Action;
        let root = writer.root()?;
        match action.action.as_ref() {
            Some(Action::Mkdir(action)) => make_directory(&root, action, owner),
            Some(Action::Mkfile(action)) => make_file(&root, action, owner),
            Some(Action::Symlink(action)) => make_symlink(&root, action, owner),
            Some(Action::Rm(action)) => remove(&root, action),
            Some(Action::Copy(details)) => {
                let source = self.readable(action.secondary_input)?;
                copy(&source.root, &root, details, owner, self.limits, self.stop)
            }
            None => Err(invalid("invalid action type")),
        }
    }

    /// What an action changes.
    fn base(&mut self, index: i64) -> Result<Writer, FileOpError> {
        let Some(result) = self.result(index)? else {
            let at = usize::try_from(index).unwrap_or(0) - self.inputs.len();
            let State::Open(writer) = std::mem::replace(&mut self.states[at], State::Taken) else {
                return Err(invalid("an action's state was taken twice"));
            };
            return Ok(writer);
        };
        Ok(self.snapshots.writer(&result)?)
    }

    fn readable(&self, index: i64) -> Result<Readable, FileOpError> {
        let result = self
            .result(index)?
            .ok_or_else(|| invalid("an action's state is not kept"))?;
        let view = self.snapshots.view(&result)?;
        Ok(Readable {
            root: view.root()?,
            _view: view,
        })
    }

    /// The kept state that an index names; `None` where it is not kept.
    fn result(&self, index: i64) -> Result<Option<ResultId>, FileOpError> {
        if index == -1 {
            return Ok(Some(ResultId::scratch()));
        }
        match place(index, self.inputs.len())? {
            None => Ok(usize::try_from(index)
                .ok()
                .and_then(|index| self.inputs.get(index))
                .cloned()),
            Some(at) => match self.states.get(at) {
                Some(State::Committed(pin)) => Ok(Some(pin.result().clone())),
                _ => Ok(None),
            },
        }
    }
}
