//! Moves an edge as far as it is wanted and what is known allows.

use super::Instruction;
use super::bug::{Bug, Step};
use super::machine::Scheduler;
use super::node::{EdgeId, NodeId, Run};
use super::state::{Level, Phase, Stage};

impl Scheduler {
    /// Moves an edge until it waits for something or is not wanted further.
    pub(super) fn advance(&mut self, edge: EdgeId) -> Step {
        while self.step(edge)? {}
        self.stop_unwanted(edge.node)
    }

    /// Makes one move; says whether there may be another.
    fn step(&mut self, edge: EdgeId) -> Step<bool> {
        let output = self.output(edge)?;
        let demand = output.demand();
        match &output.phase {
            // What it asked for is here; nobody wants it to want that any longer.
            Phase::Known(_)
            | Phase::Looking { .. }
            | Phase::Listing { .. }
            | Phase::Loading { .. }
                if demand == Level::Nothing =>
            {
                self.withdraw(edge)?;
                Ok(false)
            }
            Phase::Idle if demand >= Level::FastKeys => {
                self.begin(edge, Stage::Fast, |_| Level::FastKeys)
            }
            Phase::Waiting(stage) => {
                let stage = *stage;
                if demand < stage.level() {
                    self.rest(edge, stage)
                } else {
                    self.wait(edge, stage)
                }
            }
            Phase::Known(Stage::Fast) if demand >= Level::SlowKeys => {
                let wants = std::mem::take(&mut self.output_mut(edge)?.slow_wants);
                let moved = self.begin(edge, Stage::Slow, |input| {
                    wants.get(input).copied().unwrap_or(Level::Nothing)
                });
                if let Ok(output) = self.output_mut(edge) {
                    output.slow_wants = wants;
                }
                moved
            }
            Phase::Known(Stage::Slow | Stage::Full) if demand == Level::Result => {
                if output.keys.iter().any(|key| key.lasting) {
                    self.list(edge, Stage::Slow)?;
                    Ok(false)
                } else {
                    self.begin(edge, Stage::Full, |_| Level::Result)
                }
            }
            Phase::Running => self.run(edge, demand),
            Phase::Idle
            | Phase::Known(_)
            | Phase::Looking { .. }
            | Phase::Listing { .. }
            | Phase::Loading { .. }
            | Phase::Saving
            | Phase::Done(_)
            | Phase::Failed(_) => Ok(false),
        }
    }

    /// Enters a stage: wants of the inputs what it needs.
    pub(super) fn begin(
        &mut self,
        edge: EdgeId,
        stage: Stage,
        level_of: impl Fn(usize) -> Level,
    ) -> Step<bool> {
        self.set_phase(edge, Phase::Waiting(stage))?;
        match self.ask(edge, level_of)? {
            Some(failure) => {
                self.fail_of_input(edge.node, &failure)?;
                Ok(false)
            }
            None => Ok(true),
        }
    }

    /// Nobody wants the stage any more: goes back to what is known without it.
    fn rest(&mut self, edge: EdgeId, stage: Stage) -> Step<bool> {
        let rests_at = match stage {
            Stage::Fast => Phase::Idle,
            Stage::Slow => Phase::Known(Stage::Fast),
            Stage::Full => Phase::Known(Stage::Slow),
        };
        self.withdraw(edge)?;
        self.set_phase(edge, rests_at)?;
        Ok(false)
    }

    /// Goes on from a stage when all that it needs is there.
    fn wait(&mut self, edge: EdgeId, stage: Stage) -> Step<bool> {
        if self.output(edge)?.missing > 0 {
            return Ok(false);
        }
        match stage {
            Stage::Fast => self.look_fast(edge),
            Stage::Slow => {
                let plan = self.output(edge)?.plan.clone();
                if self.contents_are_known(edge.node, &plan)? {
                    self.look(edge, Stage::Slow)
                } else {
                    Ok(false)
                }
            }
            Stage::Full => {
                let all = self.inputs_with_content(edge.node)?;
                if self.contents_are_known(edge.node, &all)? {
                    self.look(edge, Stage::Full)
                } else {
                    Ok(false)
                }
            }
        }
    }

    /// All keys that can be had without running are known.
    pub(super) fn settle_keys(&mut self, edge: EdgeId) -> Step<bool> {
        self.set_phase(edge, Phase::Known(Stage::Slow))?;
        self.raise(edge, Level::SlowKeys)?;
        Ok(true)
    }

    /// Tells work of a node to stop that nobody waits for.
    pub(super) fn stop_unwanted(&mut self, id: NodeId) -> Step {
        let node = self.node_mut(id)?;
        let mut stopped = Vec::new();
        if let Some(asking) = &mut node.mapping
            && node.waiting_fast == 0
            && !asking.stopping
        {
            asking.stopping = true;
            stopped.push(asking.task);
        }
        if node.contents_asked > 0 && node.waiting_content == 0 {
            for content in &mut node.contents {
                if let super::node::Content::Asking(asking) = content
                    && !asking.stopping
                {
                    asking.stopping = true;
                    stopped.push(asking.task);
                }
            }
        }
        let result_wanted = node.is_result_wanted();
        if let Run::Running { asking, .. } = &mut node.run
            && !result_wanted
            && !asking.stopping
        {
            asking.stopping = true;
            stopped.push(asking.task);
        }
        for task in stopped {
            if !self.tasks.contains_key(&task) {
                return Err(Bug::at(id, format!("task {} is not on the books", task.0)));
            }
            self.instructions.push(Instruction::Cancel { task });
        }
        if !self.node(id)?.is_wanted() {
            self.tell_cancelled(id)?;
        }
        Ok(())
    }
}
