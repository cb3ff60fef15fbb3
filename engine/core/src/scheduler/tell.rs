//! What jobs are told of vertices.

use std::sync::Arc;

use super::bug::Step;
use super::machine::Scheduler;
use super::node::{Content, EdgeId, Interest, JobNumber, NodeId, Run, Told};
use super::state::{Phase, Stage};
use super::{Instruction, Report};
use crate::cachekey::MissReason;
use crate::graph::Vertex;
use crate::model::{Failure, TaskId};

impl Scheduler {
    /// Work began.
    pub(super) fn tell_started(&mut self, id: NodeId) -> Step {
        self.tell(id, Told::Started, &Report::Started, |told| {
            told != Told::Started
        })
    }

    /// A cache has the vertex, and who has not seen it end otherwise is told so.
    pub(super) fn tell_cached(&mut self, id: NodeId) -> Step {
        let (cached, miss) = (true, None);
        let report = Report::Completed { cached, miss };
        self.tell(id, Told::Over, &report, |told| told != Told::Over)
    }

    /// The vertex ran. Who was told that it stopped learns of the result when it is wanted again.
    pub(super) fn tell_ran(&mut self, id: NodeId, miss: Option<MissReason>) -> Step {
        let cached = false;
        let report = Report::Completed { cached, miss };
        self.tell(id, Told::Over, &report, |told| told == Told::Started)
    }

    /// The vertex ran, and the store does not know of it.
    pub(super) fn tell_unrecorded(&mut self, id: NodeId, failure: &Failure) -> Step {
        let waiting = self.node(id)?.jobs.iter();
        let waiting: Vec<_> = waiting
            .map(|(job, interest)| (*job, Arc::clone(&interest.vertex)))
            .collect();
        for (job, vertex) in waiting {
            self.report(job, vertex, Report::Unrecorded(failure.clone()));
        }
        Ok(())
    }

    /// The vertex failed by itself.
    pub(super) fn tell_failed(&mut self, id: NodeId, failure: &Failure) -> Step {
        let report = Report::Failed(failure.clone());
        self.tell(id, Told::Over, &report, |_| true)
    }

    /// Work stopped, where it was told to have begun.
    pub(super) fn tell_cancelled(&mut self, id: NodeId) -> Step {
        self.tell(id, Told::Nothing, &Report::Cancelled, |told| {
            told == Told::Started
        })
    }

    /// Jobs that came late learn of what was there before them.
    pub(super) fn tell_late(&mut self, edge: EdgeId) -> Step {
        let output = self.output(edge)?;
        let is_known = match &output.phase {
            Phase::Done(_) => true,
            Phase::Known(Stage::Slow) => output.keys.iter().any(|key| key.lasting),
            Phase::Idle
            | Phase::Waiting(_)
            | Phase::Looking { .. }
            | Phase::Known(_)
            | Phase::Listing { .. }
            | Phase::Loading { .. }
            | Phase::Running
            | Phase::Saving
            | Phase::Failed(_) => false,
        };
        if !is_known {
            return Ok(());
        }
        let report = Report::Completed {
            cached: true,
            miss: None,
        };
        self.tell(edge.node, Told::Over, &report, |told| told == Told::Nothing)
    }

    fn tell(
        &mut self,
        id: NodeId,
        now: Told,
        report: &Report,
        concerns: impl Fn(Told) -> bool,
    ) -> Step {
        let node = self.node_mut(id)?;
        let mut told = Vec::new();
        for (job, interest) in &mut node.jobs {
            if concerns(interest.told) {
                interest.told = now;
                told.push((*job, Arc::clone(&interest.vertex)));
            }
        }
        for (job, vertex) in told {
            self.report(job, vertex, report.clone());
        }
        Ok(())
    }

    fn report(&mut self, job: JobNumber, vertex: Arc<Vertex>, report: Report) {
        if let Some(job) = self.jobs.get(&job) {
            self.instructions.push(Instruction::Report {
                job: job.id.clone(),
                vertex,
                report,
            });
        }
    }

    /// A job that joins learns of work that is under way or done.
    pub(super) fn tell_of_work(&mut self, job: JobNumber, id: NodeId) -> Step {
        let node = self.node_mut(id)?;
        let has_begun = |interest: &Interest| interest.told == Told::Started;
        let (now, report) = if node.jobs.values().any(has_begun) {
            (Told::Started, Report::Started)
        } else if node
            .outputs
            .iter()
            .any(|output| output.phase.result().is_some())
        {
            let (cached, miss) = (true, None);
            (Told::Over, Report::Completed { cached, miss })
        } else {
            return Ok(());
        };
        if let Some(interest) = node.jobs.get_mut(&job) {
            interest.told = now;
            let vertex = Arc::clone(&interest.vertex);
            self.report(job, vertex, report);
        }
        Ok(())
    }

    /// A job that leaves sees no end of work that goes on for others.
    pub(super) fn tell_leaving(&mut self, job: JobNumber, id: NodeId) -> Step {
        if let Some(interest) = self.node(id)?.jobs.get(&job)
            && interest.told == Told::Started
        {
            let vertex = Arc::clone(&interest.vertex);
            self.report(job, vertex, Report::Cancelled);
        }
        Ok(())
    }

    /// Work that writes logs learns who reads them.
    pub(super) fn tell_audience(&mut self, id: NodeId) -> Step {
        let node = self.node(id)?;
        let run = match &node.run {
            Run::Running { asking, .. } => Some(asking.task),
            Run::Idle | Run::Saving { .. } | Run::Following(_) | Run::Over => None,
        };
        let mapping = node.mapping.as_ref().map(|asking| asking.task);
        let mut tasks: Vec<TaskId> = run.into_iter().chain(mapping).collect();
        if node.contents_asked > 0 {
            tasks.extend(node.contents.iter().filter_map(|content| match content {
                Content::Asking(asking) => Some(asking.task),
                Content::Unasked | Content::Known(_) => None,
            }));
        }
        if tasks.is_empty() || node.jobs.is_empty() {
            return Ok(());
        }
        let jobs = self.job_ids(id)?;
        for task in tasks {
            self.instructions.push(Instruction::Audience {
                task,
                jobs: jobs.clone(),
            });
        }
        Ok(())
    }
}
