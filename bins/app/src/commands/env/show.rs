//! `ssmd env show`: every value, and where it stands.

use ssmd_core::environment::{Resolved, Setting, SourceLine};
use ssmd_core::{Error, ErrorKind};

use crate::cli::Show;
use crate::environment;
use crate::exit::Exit;
use crate::output::{Out, Outcome, Stopped};

/// The longest path and the longest value that get a column, in characters.
const COLUMN_CHARS_MAX: usize = 60;

/// Shows a whole environment.
pub(super) fn run(args: &Show) -> Outcome {
    if args.versions.store.is_some() {
        return Err(Error::new(ErrorKind::Invalid, "show environment")
            .detail("--store says where versions are: it needs --as-of DAY")
            .into());
    }
    let word = args.environment.as_deref().or(args.which.config.as_deref());
    let (path, resolved) = environment::resolve(word)?;
    let settings = resolved.declared.settings();
    let mut out = Out::new();
    if args.json {
        let rows: Vec<_> = settings
            .iter()
            .map(|setting| {
                serde_json::json!({
                    "path": setting.path,
                    "value": setting.value,
                    "default": setting.place.is_none(),
                    "file": setting.place.map(|place| &resolved.documents[place.document]),
                    "line": setting.place.map(|place| place.line),
                })
            })
            .collect();
        out.json(&serde_json::json!({
            "environment": resolved.environment.name,
            "file": path,
            "documents": resolved.documents,
            "values": rows,
        }))?;
    } else {
        table(&settings, |setting| origin(setting.place, &resolved), &mut out)?;
    }
    out.flush()?;
    Ok(Exit::Ok)
}

/// Values in columns, each with where it comes from.
///
/// # Errors
/// `Unread` if nobody reads any more.
pub(super) fn table(
    settings: &[Setting],
    origin: impl Fn(&Setting) -> String,
    out: &mut Out,
) -> Result<(), Stopped> {
    let width = |figure: fn(&Setting) -> usize| {
        settings.iter().map(figure).filter(|width| *width <= COLUMN_CHARS_MAX).max().unwrap_or(0)
    };
    let (paths, values) =
        (width(|setting| setting.path.chars().count()), width(|setting| setting.value.chars().count()));
    for setting in settings {
        let from = origin(setting);
        out.line(format_args!("{:<paths$}  {:<values$}  {from}", setting.path, setting.value))?;
    }
    Ok(())
}

/// Where a value comes from, for people.
pub(in crate::commands) fn origin(place: Option<SourceLine>, resolved: &Resolved) -> String {
    place.map_or_else(
        || "default".to_owned(),
        |place| format!("{}:{}", resolved.documents[place.document], place.line),
    )
}
