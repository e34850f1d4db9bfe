//! `ssmd env apply`, `env status` and `env history`: what is declared, what runs, and what ran when.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use ssmd_core::environment::Environment;
use ssmd_core::{Error, ErrorKind, Store};
use ssmd_storage::FileStore;
use ssmd_storage::environments::{History, Recorded};

use super::{archive, status};
use crate::change::{Change, Difference};
use crate::cli::{EnvApply, EnvHistory, Running, StoreArgs, Versions};
use crate::control::{self, ANSWER_WITHIN, ROLES, Request};
use crate::environment;
use crate::exit::Exit;
use crate::output::{Out, Outcome, Stopped};
use crate::reload::Answer;
use crate::status::{FeedStatus, Status, plural};

/// How long a process may take to do what is declared: feeds that stop close their sockets and reach the archive.
const APPLY_WITHIN: Duration = Duration::from_secs(180);
/// Changes that are printed one by one; JSON has all of them.
const CHANGES_SHOWN_MAX: usize = 40;

/// Makes what runs equal to its document, after it has said what that changes.
pub(super) async fn apply(args: &EnvApply) -> Outcome {
    let other = other_document(args)?;
    let plans = ask_all(&args.running.data, |_| Request::Apply {
        dry_run: true,
        document: other.clone(),
        expect: None,
    })
    .await?;
    let own = args.file.is_none() || plans.iter().all(|plan| is_own(args, plan));
    let done = |plan: &Answer| plan.applied;
    let destructive = plans.iter().any(|plan| plan.changes.iter().any(Change::is_destructive)) && !args.yes;
    let impossible = plans.iter().any(|plan| !plan.refused.is_empty());
    let mut answers = plans;
    let only_look = args.dry_run || destructive || impossible || !own;
    if !only_look {
        answers = carry_out(&args.running.data, answers).await?;
    }
    let mut out = Out::new();
    for answer in &answers {
        if args.running.json {
            out.json(answer)?;
        } else {
            print_answer(answer, &mut out)?;
        }
    }
    let note = match () {
        () if impossible || answers.iter().all(done) => None,
        () if args.dry_run => Some("nothing was done: --dry-run"),
        () if !own => {
            Some("nothing was done: only the document that it was started with can be applied; edit that one")
        }
        () if destructive => Some("nothing was done: it ends or breaks off recordings; --yes does it"),
        () => None,
    };
    if let Some(note) = note.filter(|_| !args.running.json) {
        out.line(note)?;
    }
    out.flush()?;
    Ok(match () {
        () if answers.iter().any(|answer| answer.invalid) => Exit::Config,
        () if answers.iter().all(done) || args.dry_run && !impossible => Exit::Ok,
        () => Exit::Failed,
    })
}

/// The document that is named, if one is, checked here first: its problems are those of the file.
fn other_document(args: &EnvApply) -> Result<Option<String>, Stopped> {
    let Some(path) = &args.file else { return Ok(None) };
    Ok(Some(environment::load(Some(path))?.canonical()))
}

/// Whether the document that is named is the one that the process was started with.
fn is_own(args: &EnvApply, plan: &Answer) -> bool {
    let whole = |path: &Path| path.canonicalize().ok();
    let own = plan.document.as_deref().and_then(|own| whole(Path::new(own)));
    own.is_some() && own == args.file.as_deref().and_then(whole)
}

/// Does what the plans say, one process after the other.
async fn carry_out(data: &Path, plans: Vec<Answer>) -> Result<Vec<Answer>, Stopped> {
    let mut answers = Vec::new();
    for plan in plans {
        let request = Request::Apply { dry_run: false, document: None, expect: plan.sha256.clone() };
        let line = control::ask_one(data, &plan.role, &request, APPLY_WITHIN).await?;
        let mut answer = read(&line)?;
        if answer.changes.is_empty() {
            // Whoever watches the file was quicker; what changed is what was planned.
            answer.changes = plan.changes;
        }
        answers.push(answer);
    }
    Ok(answers)
}

/// Asks every process that runs in the folder.
async fn ask_all(data: &Path, request: impl Fn(&str) -> Request) -> Result<Vec<Answer>, Stopped> {
    let mut answers = Vec::new();
    for role in ROLES {
        match control::ask_one(data, role, &request(role), ANSWER_WITHIN).await {
            Ok(line) => answers.push(read(&line)?),
            Err(error) if error.kind() == ErrorKind::Unavailable => {}
            Err(error) => return Err(error.into()),
        }
    }
    if answers.is_empty() {
        return Err(Error::new(ErrorKind::Unavailable, "talk to a running ssmd")
            .detail("nothing runs in this folder")
            .with("folder", data.display())
            .hint("start something with `ssmd up -c FILE`, or name its folder with --data")
            .into());
    }
    Ok(answers)
}

fn read(line: &str) -> Result<Answer, Stopped> {
    let read = serde_json::from_str(line);
    Ok(read.map_err(|cause| Error::new(ErrorKind::Corrupt, "read answer").because(cause))?)
}

fn print_answer(answer: &Answer, out: &mut Out) -> Result<(), Stopped> {
    let mark = if answer.applied { "✓" } else { "✗" };
    let version = answer.version.as_ref().map(|version| format!("version {}", version.short()));
    let version = version.unwrap_or_else(|| "the version of the recorder".to_owned());
    out.line(format_args!("{mark} {} runs {version}", answer.role))?;
    print_changes(&answer.changes, out)?;
    for why in &answer.refused {
        let mark = |at| if at == 0 { "✗" } else { " " };
        why.lines().enumerate().try_for_each(|(at, line)| out.line(format_args!("  {} {line}", mark(at))))?;
    }
    Ok(())
}

fn print_changes(changes: &[Change], out: &mut Out) -> Result<(), Stopped> {
    for change in changes.iter().take(CHANGES_SHOWN_MAX) {
        out.line(format_args!("  {change}"))?;
    }
    if changes.len() > CHANGES_SHOWN_MAX {
        let more = (changes.len() - CHANGES_SHOWN_MAX) as u64;
        out.line(format_args!("  and {}", plural(more, "more change")))?;
    }
    Ok(())
}

/// What is declared for a process, and what runs.
#[derive(Serialize)]
struct Compared<'a> {
    #[serde(flatten)]
    answer: &'a Answer,
    /// Whether what runs is not what is declared, or the venue does not give it.
    differs: bool,
    feeds: Vec<Subscribed<'a>>,
}

/// The subscriptions of one feed.
#[derive(Serialize)]
struct Subscribed<'a> {
    feed: &'a str,
    wanted: Option<u64>,
    subscribed: Option<u64>,
    refused: &'a [String],
}

impl<'a> Subscribed<'a> {
    fn of(feed: &'a FeedStatus) -> Self {
        let wanted = feed.subscriptions_wanted;
        let subscribed = wanted.map(|wanted| wanted.saturating_sub(feed.subscriptions_missing));
        Self { feed: &feed.feed, wanted, subscribed, refused: &feed.refused }
    }

    fn is_whole(&self) -> bool {
        self.wanted.is_some() && self.wanted == self.subscribed
    }
}

/// Says whether what is declared is what runs.
pub(super) async fn status(args: &Running) -> Outcome {
    let look = |_: &str| Request::Apply { dry_run: true, document: None, expect: None };
    let answers = ask_all(&args.data, look).await?;
    let mut out = Out::new();
    let mut same = true;
    for answer in &answers {
        let line = control::ask_one(&args.data, &answer.role, &Request::Status, ANSWER_WITHIN).await?;
        let running: Status = status::read(&line)?;
        let feeds: Vec<_> = match running.role.as_str() {
            "archiver" | "cache" => Vec::new(),
            _ => running.feeds.iter().map(Subscribed::of).collect(),
        };
        // The built-in environment has no document to differ from.
        let declared = answer.applied || answer.document.is_none();
        let differs = !declared || !feeds.iter().all(Subscribed::is_whole);
        same &= !differs;
        let compared = Compared { answer, differs, feeds };
        if args.json {
            out.json(&compared)?;
        } else {
            print_compared(&compared, declared, &mut out)?;
        }
    }
    out.flush()?;
    Ok(if same { Exit::Ok } else { Exit::Failed })
}

fn print_compared(compared: &Compared<'_>, declared: bool, out: &mut Out) -> Result<(), Stopped> {
    let Compared { answer, differs, feeds } = compared;
    let mark = |good: bool| if good { "✓" } else { "✗" };
    let document = answer.document.as_deref().unwrap_or("the built-in environment");
    out.line(format_args!("{} {}: {document}", mark(!differs), answer.role))?;
    if let Some(version) = &answer.version {
        let (short, from) = (version.short(), version.valid_from);
        out.line(format_args!("  version {short} runs since {from}, by {} ({})", version.who, version.how))?;
    }
    for feed in feeds {
        let number = |count: Option<u64>| count.map_or_else(|| "?".to_owned(), |count| count.to_string());
        out.line(format_args!(
            "  {} {}: {} of {} subscribed",
            mark(feed.is_whole()),
            feed.feed,
            number(feed.subscribed),
            number(feed.wanted),
        ))?;
        for refused in feed.refused {
            out.line(format_args!("    refused {refused}"))?;
        }
    }
    if !declared {
        out.line("  ✗ the document says something else than what runs:")?;
        print_changes(&answer.changes, out)?;
        for line in answer.refused.iter().flat_map(|why| why.lines()) {
            out.line(format_args!("    {line}"))?;
        }
    }
    Ok(())
}

/// Prints the versions that were applied, or the document that held.
pub(super) async fn history(args: &EnvHistory) -> Outcome {
    let history = History::load(&*versions(&args.versions)?).await?;
    let mut out = Out::new();
    if let Some(moment) = args.as_of {
        let held = history.at(moment).ok_or_else(|| {
            let first = history.versions().next().map(|first| first.version.valid_from);
            let hint = first
                .map_or_else(|| "none was ever applied".to_owned(), |at| format!("the first is of {at}"));
            Error::new(ErrorKind::NotFound, "find environment").with("at", moment).hint(hint)
        })?;
        print_document(held, &history, args.json, &mut out)?;
    } else if args.json {
        let rows: Vec<_> = history.versions().map(|recorded| row(recorded, &history)).collect();
        out.json(&rows)?;
    } else {
        print_history(&history, &mut out)?;
    }
    out.flush()?;
    Ok(Exit::Ok)
}

/// Where the versions are that are asked for.
pub(super) fn versions(args: &Versions) -> Result<std::sync::Arc<dyn Store>, Stopped> {
    if let Some(store) = &args.store {
        return Ok(archive::store(&StoreArgs { store: Some(store.clone()), data: args.data.clone() })?);
    }
    if !args.data.is_dir() {
        return Err(Error::new(ErrorKind::NotFound, "open data folder")
            .with("folder", args.data.display())
            .hint("name it with --data, or an archive with --store")
            .into());
    }
    Ok(std::sync::Arc::new(FileStore::open(&args.data)?))
}

/// A version, for programs.
pub(super) fn row(recorded: &Recorded, history: &History) -> serde_json::Value {
    let version = &recorded.version;
    serde_json::json!({
        "environment": version.environment,
        "sha256": version.sha256,
        "valid_from": version.valid_from,
        "valid_to": history.valid_to(recorded),
        "who": version.who,
        "how": version.how,
        "by": version.by,
        "path": recorded.path.as_str(),
    })
}

/// What a version declares, as a document.
///
/// # Errors
/// `Corrupt` if it is none.
pub(super) fn document(held: &Recorded) -> Result<serde_json::Value, Error> {
    serde_json::from_str(&held.version.document)
        .map_err(|cause| Error::new(ErrorKind::Corrupt, "read environment").because(cause))
}

fn print_document(held: &Recorded, history: &History, json: bool, out: &mut Out) -> Result<(), Stopped> {
    let document = document(held)?;
    if json {
        let mut row = row(held, history);
        row["document"] = document;
        return out.json(&row);
    }
    let text = serde_json::to_string_pretty(&document)
        .map_err(|cause| Error::new(ErrorKind::Bug, "write environment").because(cause))?;
    out.line(text)
}

fn print_history(history: &History, out: &mut Out) -> Result<(), Stopped> {
    let mut before: Option<Environment> = None;
    for recorded in history.versions() {
        let version = &recorded.version;
        let to = history.valid_to(recorded).map_or_else(|| "now".to_owned(), |to| to.to_string());
        let short = version.sha256.get(..12).unwrap_or_default();
        out.line(format_args!(
            "{short}  {}  {} to {to}  {} ({})",
            version.environment, version.valid_from, version.who, version.how
        ))?;
        // One that an earlier ssmd wrote may say what this one does not know any more; then it is only listed.
        let text = version.document.as_bytes();
        let declared = Environment::parse(text, recorded.path.as_str(), &ssmd_feeds::vocabulary()).ok();
        if let (Some(before), Some(declared)) = (&before, &declared) {
            print_changes(&Difference::between(before, declared).changes, out)?;
        }
        before = declared.or(before);
    }
    Ok(())
}
