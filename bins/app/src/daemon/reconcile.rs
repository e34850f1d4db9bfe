//! Makes what runs equal to what is declared, without a restart. What is new is durable before it is used; what cannot
//! be done changes nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::environment::{Environment, FeedSpec};
use ssmd_core::{Error, ErrorKind, FeedName, Result, metrics};
use ssmd_storage::environments::{self, Applied};
use ssmd_transport::log;

use super::{LOOK_EVERY, Parts, Role};
use crate::change::{Action, Difference};
use crate::connector::Connector;
use crate::document;
use crate::environment;
use crate::output::Stopped;
use crate::reload::{Answer, Apply, Order};

/// How long an archiver waits for a log whose feed is declared no more to be closed by the process that writes it.
const LOG_CLOSES_WITHIN: Duration = Duration::from_secs(45);

impl Parts {
    /// Starts every feed, after what is declared is recorded. If that fails, what held before holds again: another
    /// process may be recording it.
    pub(super) async fn start_connector(&self, declared: &Environment, how: &str) -> Result<Connector> {
        let before = environments::current(&*self.recorded).await?;
        self.record(declared, document::myself(how)).await?;
        let (clock, metrics) = (Arc::clone(&self.clock), self.metrics.clone());
        let started =
            Connector::start(&self.environment, (&self.folder, self.shared.clone()), clock, metrics).await;
        if let (Err(_), Some(before)) = (&started, before) {
            let (undo, now) = (document::myself("undo"), self.clock.now());
            environments::restore(&*self.recorded, &before.version, undo, now).await?;
        }
        started
    }

    /// Does what it is told.
    ///
    /// # Errors
    /// Something failed that leaves a feed without a recorder.
    pub(super) async fn take(&mut self, order: Order) -> Result<()> {
        match order {
            Order::Read(how) => {
                self.read(how).await?;
            }
            Order::Apply(apply, answer) => {
                let made = self.asked(&apply).await?;
                // Whoever asked may be gone.
                let _ = answer.send(made);
            }
        }
        Ok(())
    }

    /// Reads the document again and does what it says.
    async fn read(&mut self, how: &'static str) -> Result<()> {
        let Some(path) = self.declared.now().document else {
            tracing::info!("there is no document to read again");
            return Ok(());
        };
        let mut answer = self.answer();
        match load(&path) {
            Ok(declared) => {
                self.look(&declared, &mut answer);
                self.apply(declared, document::owner(&path, how), &mut answer).await
            }
            Err(error) => {
                self.wrong(&error, &mut answer);
                self.refused(&answer);
                Ok(())
            }
        }
    }

    async fn asked(&mut self, apply: &Apply) -> Result<Answer> {
        let mut answer = self.answer();
        let read = match (&apply.document, self.declared.now().document) {
            (Some(text), _) => environment::of_text(Path::new("the document"), text.clone().into_bytes()),
            (None, Some(path)) => load(&path),
            (None, None) => {
                answer.refused.push("it was started without a document that it could read again".to_owned());
                return Ok(answer);
            }
        };
        let declared = match read {
            Ok(declared) => declared,
            Err(error) => {
                self.wrong(&error, &mut answer);
                return Ok(answer);
            }
        };
        self.look(&declared, &mut answer);
        if apply.expect.is_some() && apply.expect != answer.sha256 {
            answer.refused.push("the document has changed since it was looked at".to_owned());
        } else if !apply.dry_run && apply.document.is_some() {
            answer.refused.push("only the document that it was started with can be applied".to_owned());
        } else if !apply.dry_run {
            let applied =
                apply.user.map_or_else(|| document::myself("apply"), |user| document::by_user(user, "apply"));
            self.apply(declared, applied, &mut answer).await?;
        }
        Ok(answer)
    }

    fn answer(&self) -> Answer {
        let state = self.declared.now();
        Answer {
            role: self.role.word().to_owned(),
            document: state.document.map(|path| path.display().to_string()),
            version: state.version,
            ..Answer::default()
        }
    }

    /// Says what is wrong with a document.
    fn wrong(&self, error: &Stopped, answer: &mut Answer) {
        answer.invalid = true;
        answer.refused.push(match error {
            Stopped::Failed(error) => error.report(),
            Stopped::Document(problems) => problems.to_string(),
            Stopped::Unread => String::new(),
        });
    }

    /// Says what differs, and what cannot be done about it.
    fn look(&self, declared: &Environment, answer: &mut Answer) {
        let runs = self.simulated.as_ref().unwrap_or(&self.environment);
        let difference = Difference::between(runs, declared);
        let same = runs.hash() == declared.hash();
        answer.sha256 = Some(declared.hash());
        answer.refused.extend(difference.refused.iter().cloned());
        if let Some(connector) = &self.connector {
            let impossible = declared.enabled().filter_map(|spec| connector.check(spec).err());
            answer.refused.extend(impossible.map(|error| error.report()));
            if declared.enabled().next().is_none() {
                answer.refused.push("no feed of the environment is enabled".to_owned());
            }
        }
        if self.simulated.is_some() && !same {
            answer.refused.push("under --sim edits are not applied: stop it, and start it again".to_owned());
        }
        answer.changes = difference.changes;
        answer.applied = answer.refused.is_empty() && same;
    }

    /// Makes what is declared run, unless something speaks against it.
    async fn apply(&mut self, declared: Environment, applied: Applied, answer: &mut Answer) -> Result<()> {
        let count = |result| self.metrics.counter(&metrics::RELOADS, &[result]).add(1);
        if answer.applied {
            count("unchanged");
            if applied.how == "signal" {
                tracing::info!("what the document says is what runs");
            }
            self.accepted();
            return Ok(());
        }
        if !answer.refused.is_empty() {
            self.refused(answer);
            return Ok(());
        }
        let how = applied.how.clone();
        if let Err(error) = self.carry_out(declared, applied).await? {
            answer.refused.push(error.report());
            self.refused(answer);
            return Ok(());
        }
        self.metrics.counter(&metrics::RELOADS, &["applied"]).add(1);
        self.accepted();
        answer.applied = true;
        answer.version = self.declared.now().version;
        for change in &answer.changes {
            tracing::info!(how, "{change}");
        }
        let sha256 = answer.version.as_ref().map(|version| version.short().to_owned());
        tracing::info!(how, version = sha256, changes = answer.changes.len(), "the environment was applied");
        Ok(())
    }

    /// The outer error ends the process; the inner one leaves everything as it was.
    async fn carry_out(&mut self, declared: Environment, applied: Applied) -> Result<Result<()>> {
        let difference = Difference::between(&self.environment, &declared);
        if let Err(error) = self.record(&declared, applied).await {
            return Ok(Err(error));
        }
        let reopened = difference.feeds(Action::Reopen);
        let started = difference.feeds(Action::Start);
        let specs = |names: &std::collections::BTreeSet<FeedName>| {
            let named = declared.feeds.iter().filter(|spec| names.contains(&spec.name));
            named.cloned().collect::<Vec<FeedSpec>>()
        };
        if let Err(error) = self.start_feeds(&specs(&started)).await {
            // What ran before holds again, and the record says so.
            let before = self.environment.clone();
            self.record(&before, document::myself("undo")).await?;
            return Ok(Err(error));
        }
        let mut wants = difference.feeds(Action::Add);
        wants.extend(difference.feeds(Action::Remove));
        wants.extend(difference.feeds(Action::Ask));
        wants.extend(difference.feeds(Action::Share));
        wants.retain(|feed| !reopened.contains(feed));
        if let Some(connector) = &self.connector {
            // Each was opened once to see whether it can be.
            specs(&wants).iter().try_for_each(|spec| connector.want(spec))?;
        }
        for feed in difference.feeds(Action::Stop) {
            self.stop_feed(&feed).await;
        }
        let reopened = if self.role == Role::Archiver { Vec::new() } else { specs(&reopened) };
        for spec in reopened {
            self.stop_feed(&spec.name).await;
            self.start_feed(&spec).await?;
        }
        self.environment = declared;
        Ok(Ok(()))
    }

    /// Makes the environment durable before it is used. Who does not record leaves that to the process that does.
    async fn record(&self, declared: &Environment, applied: Applied) -> Result<()> {
        if self.role.records() {
            let recorded = environments::record(&*self.recorded, declared, applied, self.clock.now()).await?;
            self.declared.change(|state| state.version = Some((&recorded).into()));
        }
        Ok(())
    }

    async fn start_feeds(&mut self, specs: &[FeedSpec]) -> Result<()> {
        for (at, spec) in specs.iter().enumerate() {
            if let Err(error) = self.start_feed(spec).await {
                for spec in &specs[..at] {
                    self.stop_feed(&spec.name).await;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Records one more feed, and archives it.
    pub(super) async fn start_feed(&mut self, spec: &FeedSpec) -> Result<()> {
        if let Some(connector) = &mut self.connector {
            connector.add(spec).await?;
        }
        if self.projections.is_some() {
            let source = self.source(spec)?;
            if let Some(projections) = &mut self.projections {
                projections.project(spec, || source);
            }
        }
        if let Some(mut archivers) = self.archivers.take() {
            // There is one already for a feed that was disabled before the start.
            let rest = archivers.feeds.remove(&spec.name).await;
            archivers.archive(&spec.name, |stop| self.journal(&spec.name, stop));
            self.archivers = Some(archivers);
            if let Err(error) = rest {
                tracing::error!(feed = %spec.name, report = error.report(), "what was left did not get archived");
            }
        }
        Ok(())
    }

    /// Ends the recording of a feed: its sockets, its decoder, its archive, its log. What fails is told; the log keeps
    /// what is not archived.
    async fn stop_feed(&mut self, feed: &FeedName) {
        let projected = match &mut self.projections {
            Some(projections) => projections.feeds.remove(feed).await,
            None => Ok(()),
        };
        let (log, captured) = match &mut self.connector {
            Some(connector) => connector.remove(feed).await,
            None if self.archivers.is_none() => (None, Ok(())),
            None => (None, self.log_closed(feed).await),
        };
        let archived = match &mut self.archivers {
            Some(archivers) => archivers.feeds.remove(feed).await,
            None => Ok(()),
        };
        let closed = match log {
            Some(log) => log.close().await,
            None => Ok(()),
        };
        if let Err(error) = captured.and(archived).and(closed).and(projected) {
            tracing::error!(%feed, report = error.report(), "the feed did not stop in order");
        }
    }

    /// Waits until the process that writes a log has closed it.
    async fn log_closed(&self, feed: &FeedName) -> Result<()> {
        let (directory, begun) = (self.folder.log(feed), self.clock.elapsed());
        loop {
            match log::inspect(&directory) {
                Ok(inspection) if !inspection.clean => {}
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => return Ok(()),
            }
            if self.clock.elapsed().saturating_sub(begun) >= LOG_CLOSES_WITHIN {
                return Err(Error::new(ErrorKind::Timeout, "archive the end of a log")
                    .detail("it is still written")
                    .with("feed", feed)
                    .hint("what is written later is archived when the feed is declared again"));
            }
            self.clock.sleep(LOOK_EVERY).await;
        }
    }

    fn accepted(&self) {
        self.metrics.gauge(&metrics::DOCUMENT_REFUSED, &[]).set(0.0);
        self.declared.change(|state| state.refused = None);
    }

    fn refused(&self, answer: &Answer) {
        let why = answer.refused.join("\n");
        let result = if answer.invalid { "invalid" } else { "refused" };
        self.metrics.counter(&metrics::RELOADS, &[result]).add(1);
        self.metrics.gauge(&metrics::DOCUMENT_REFUSED, &[]).set(1.0);
        let document = answer.document.as_deref().unwrap_or_default();
        tracing::error!(document, "the document is not applied, what ran before runs on: {why}");
        self.declared.change(|state| state.refused = Some(why));
    }
}

/// Reads the document. A huge one takes a while, and sockets must not wait for it.
fn load(path: &Path) -> Result<Environment, Stopped> {
    tokio::task::block_in_place(|| environment::load(Some(path)))
}

/// A path as it is from anywhere.
pub(super) fn absolute(path: &Path) -> std::path::PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
