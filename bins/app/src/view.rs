//! The live view of `ssmd up`: a few lines that are drawn again and again, below whatever the terminal showed.

use std::collections::VecDeque;
use std::io::Stdout;
use std::sync::Arc;
use std::time::Duration;

use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row, Sparkline, Table};
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};
use ssmd_core::{Clock, Error, Result};
use tokio_util::sync::CancellationToken;

use crate::status::{FeedStatus, Status, bytes, grouped};

/// How often it is drawn.
const EVERY: Duration = Duration::from_millis(500);
/// How many past rates the sparkline shows.
const HISTORY: usize = 120;

/// Draws what `status` says until `stop`, then once more.
///
/// # Errors
/// The terminal's.
pub(crate) async fn run<F, S>(status: F, clock: Arc<dyn Clock>, stop: CancellationToken) -> Result<()>
where
    F: Fn() -> S + Send,
    S: Future<Output = Status> + Send,
{
    let failed = |cause| Error::io("draw live view", cause);
    let feeds = u16::try_from(status().await.feeds.len()).unwrap_or(u16::MAX);
    let viewport = Viewport::Inline(feeds.saturating_add(FIXED_LINES));
    let backend = CrosstermBackend::new(std::io::stdout());
    let mut terminal: Terminal<CrosstermBackend<Stdout>> =
        Terminal::with_options(backend, TerminalOptions { viewport }).map_err(failed)?;
    let mut rates = VecDeque::with_capacity(HISTORY);
    loop {
        let now = status().await;
        if rates.len() == HISTORY {
            rates.pop_front();
        }
        rates.push_back(now.feeds.iter().map(|feed| feed.frames_per_second).sum::<f64>() as u64);
        terminal.draw(|frame| draw(frame, &now, rates.make_contiguous(), false)).map_err(failed)?;
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = clock.sleep(EVERY) => {}
        }
    }
    let last = status().await;
    // The terminal may have shown a `^C` in between.
    terminal.clear().map_err(failed)?;
    terminal.draw(|frame| draw(frame, &last, rates.make_contiguous(), true)).map_err(failed)?;
    terminal.backend_mut().show_cursor().map_err(failed)?;
    println!();
    Ok(())
}

/// Title, sparkline (2), table header, and the line about stopping.
const FIXED_LINES: u16 = 5;

fn draw(frame: &mut Frame<'_>, status: &Status, rates: &[u64], done: bool) {
    let rows = u16::try_from(status.feeds.len()).unwrap_or(u16::MAX).saturating_add(1);
    let [title, line, table, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Length(rows),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(heading(status), title);
    frame.render_widget(Sparkline::default().data(rates).style(Style::new().fg(Color::Cyan)), line);
    frame.render_widget(feeds(status, table.width), table);
    if !done {
        frame.render_widget(footing(status), foot);
    }
}

fn heading(status: &Status) -> Line<'_> {
    let (version, name, uptime) = (&status.version, &status.environment, status.uptime());
    Line::from(vec![
        Span::styled("ssmd", Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(format!(" {version} · {name} · {uptime} · {}", status.store)),
    ])
}

fn footing(status: &Status) -> Line<'_> {
    let health =
        status.listen.as_ref().map_or(String::new(), |at| format!(" · metrics at http://{at}/metrics"));
    let text = if status.stopping {
        "stopping: what was heard is sealed and archived; Ctrl-C again ends at once".to_owned()
    } else if status.document_refused.is_some() {
        let text = "the edited document is not applied: `ssmd env status` says why";
        return Line::styled(text, Style::new().fg(Color::Red));
    } else {
        format!("Ctrl-C stops, seals and exits{health}")
    };
    Line::styled(text, Style::new().fg(Color::DarkGray))
}

/// Names, least widths, and in which order columns go where there is no room for all: the highest first, 0 never.
const COLUMNS: [(&str, usize, u8); 10] = [
    ("feed", 6, 0),
    ("conns", 5, 3),
    ("frames/s", 8, 0),
    ("frames", 9, 5),
    ("bytes", 8, 2),
    ("lag", 8, 1),
    ("books ok", 9, 0),
    ("bad", 3, 0),
    ("gaps", 4, 0),
    ("to archive", 10, 4),
];

fn feeds(status: &Status, width: u16) -> Table<'_> {
    let rows: Vec<_> = status.feeds.iter().map(|feed| row(feed, status.stopping)).collect();
    let mut shown: Vec<(usize, usize)> = (0..COLUMNS.len())
        .map(|at| (at, rows.iter().map(|row| row[at].0.len()).fold(COLUMNS[at].1, usize::max)))
        .collect();
    let needs = |shown: &[(usize, usize)], gap| shown.iter().map(|(_, width)| width + gap).sum::<usize>();
    let room = usize::from(width) + 1;
    while needs(&shown, 1) > room
        && let Some(least) = shown.iter().map(|(at, _)| COLUMNS[*at].2).max().filter(|rank| *rank > 0)
    {
        shown.retain(|(at, _)| COLUMNS[*at].2 != least);
    }
    let gap = if needs(&shown, 2) > room { 1 } else { 2 };
    let cell = |at: usize, text: String, style: Style| {
        let line = Line::styled(text, style);
        Cell::from(if at == 0 { line } else { line.right_aligned() })
    };
    let dim = Style::new().add_modifier(Modifier::DIM);
    let header = Row::new(shown.iter().map(|(at, _)| cell(*at, COLUMNS[*at].0.to_owned(), dim)));
    let rows = rows.into_iter().map(|row| {
        Row::new(shown.iter().map(|(at, _)| cell(*at, row[*at].0.clone(), row[*at].1)).collect::<Vec<_>>())
    });
    let widths = shown.iter().map(|(_, width)| Constraint::Length(u16::try_from(*width).unwrap_or(u16::MAX)));
    Table::new(rows, widths).column_spacing(gap).header(header)
}

fn row(feed: &FeedStatus, stopping: bool) -> [(String, Style); COLUMNS.len()] {
    let good = |well: bool| Style::new().fg(if well { Color::Green } else { Color::Red });
    let plain = |text: String| (text, Style::new());
    let behind = feed.durable.saturating_sub(feed.archived);
    [
        plain(feed.feed.clone()),
        (feed.sessions.to_string(), if stopping { Style::new() } else { good(feed.sessions > 0) }),
        plain(format!("{:.0}", feed.frames_per_second)),
        plain(grouped(feed.frames)),
        plain(bytes(feed.bytes)),
        plain(format!("{:.1} ms", feed.lag_seconds * 1000.0)),
        (grouped(feed.books_verified), good(feed.books_failed == 0)),
        (grouped(feed.books_failed), good(feed.books_failed == 0)),
        (grouped(feed.gaps), good(feed.gaps == 0)),
        plain(grouped(behind)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::backend::TestBackend;
    use ssmd_core::Timestamp;

    fn shown(width: u16, feed: FeedStatus, stopping: bool) -> String {
        let status = Status {
            role: "up".into(),
            version: "0.1.0".into(),
            environment: "dev".into(),
            started: Timestamp::from_nanos(0),
            seconds: 3723.0,
            stopping,
            listen: None,
            store: "file:store".into(),
            feeds: vec![feed],
            ..Status::default()
        };
        let mut terminal = Terminal::new(TestBackend::new(width, 6)).unwrap();
        terminal.draw(|frame| draw(frame, &status, &[1, 5, 3], false)).unwrap();
        terminal.backend().to_string()
    }

    fn busy() -> FeedStatus {
        FeedStatus {
            feed: "kraken".into(),
            sessions: 1,
            frames: 12_345_678,
            bytes: 1_234_567_890,
            frames_per_second: 512.0,
            books_verified: 9_999_999,
            gaps: 2,
            durable: 12_345_800,
            archived: 12_335_800,
            ..FeedStatus::default()
        }
    }

    #[test]
    fn everything_is_shown_whole_from_eighty_columns_on() {
        for width in [80, 120, 200] {
            let shown = shown(width, busy(), false);
            for text in ["01:02:03", "512", "12,345,678", "1.2 GB", "9,999,999", "10,000", "file:store"] {
                assert!(shown.contains(text), "{text} is not in\n{shown}");
            }
            assert!(COLUMNS.iter().all(|(name, ..)| shown.contains(name)), "{shown}");
        }
    }

    #[test]
    fn a_document_that_is_not_applied_is_told() {
        let status = Status { document_refused: Some("it is wrong".into()), ..Status::default() };
        assert!(footing(&status).to_string().contains("ssmd env status"));
        assert!(footing(&Status::default()).to_string().contains("Ctrl-C stops"));
    }

    #[test]
    fn a_narrow_terminal_shows_less_but_nothing_cut() {
        let shown = shown(50, busy(), true);
        assert!(shown.contains("books ok") && shown.contains("9,999,999"), "{shown}");
        assert!(!shown.contains("to archive") && !shown.contains("12,345"), "{shown}");
    }
}
