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
        terminal.draw(|frame| draw(frame, &now, rates.make_contiguous())).map_err(failed)?;
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = clock.sleep(EVERY) => {}
        }
    }
    let last = status().await;
    terminal.draw(|frame| draw(frame, &last, rates.make_contiguous())).map_err(failed)?;
    terminal.backend_mut().show_cursor().map_err(failed)?;
    println!();
    Ok(())
}

/// Title, sparkline (2), table header, and the line about stopping.
const FIXED_LINES: u16 = 5;

fn draw(frame: &mut Frame<'_>, status: &Status, rates: &[u64]) {
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
    frame.render_widget(feeds(status), table);
    frame.render_widget(footing(status), foot);
}

fn heading(status: &Status) -> Line<'_> {
    let seconds = status.seconds as u64;
    let since = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    Line::from(vec![
        Span::styled("ssmd", Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(format!(" {} · {} · {since} · {}", status.version, status.environment, status.store)),
    ])
}

fn footing(status: &Status) -> Line<'_> {
    let health =
        status.listen.as_ref().map_or(String::new(), |at| format!(" · metrics at http://{at}/metrics"));
    Line::styled(format!("Ctrl-C stops, seals and exits{health}"), Style::new().fg(Color::DarkGray))
}

const COLUMNS: [(&str, u16); 9] = [
    ("feed", 15),
    ("conns", 6),
    ("frames/s", 9),
    ("frames", 13),
    ("bytes", 10),
    ("lag", 9),
    ("books ok/bad", 18),
    ("gaps", 6),
    ("archived", 24),
];

fn feeds(status: &Status) -> Table<'_> {
    let header = Row::new(COLUMNS.map(|(name, _)| name)).style(Style::new().add_modifier(Modifier::DIM));
    Table::new(status.feeds.iter().map(row), COLUMNS.map(|(_, width)| Constraint::Length(width)))
        .header(header)
}

fn row(feed: &FeedStatus) -> Row<'_> {
    let good = |well: bool| Style::new().fg(if well { Color::Green } else { Color::Red });
    Row::new(vec![
        Cell::from(feed.feed.as_str()),
        Cell::from(feed.sessions.to_string()).style(good(feed.sessions > 0)),
        Cell::from(format!("{:.0}", feed.frames_per_second)),
        Cell::from(grouped(feed.frames)),
        Cell::from(bytes(feed.bytes)),
        Cell::from(format!("{:.1} ms", feed.lag_seconds * 1000.0)),
        Cell::from(format!("{} / {}", grouped(feed.books_verified), feed.books_failed))
            .style(good(feed.books_failed == 0)),
        Cell::from(feed.gaps.to_string()).style(good(feed.gaps == 0)),
        Cell::from(format!("{} of {}", grouped(feed.archived), grouped(feed.durable))),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::backend::TestBackend;
    use ssmd_core::Timestamp;

    #[test]
    fn the_view_shows_rates_books_gaps_and_what_is_archived() {
        let feed = FeedStatus {
            feed: "kraken".into(),
            sessions: 1,
            frames: 12_345,
            frames_per_second: 512.0,
            books_verified: 9_999,
            gaps: 2,
            durable: 100,
            archived: 90,
            ..FeedStatus::default()
        };
        let status = Status {
            role: "up".into(),
            version: "0.1.0".into(),
            environment: "dev".into(),
            started: Timestamp::from_nanos(0),
            seconds: 3723.0,
            listen: None,
            store: "file:store".into(),
            feeds: vec![feed],
        };
        let mut terminal = Terminal::new(TestBackend::new(120, 6)).unwrap();
        terminal.draw(|frame| draw(frame, &status, &[1, 5, 3])).unwrap();
        let shown = terminal.backend().to_string();
        for text in ["01:02:03", "512", "12,345", "9,999 / 0", "90 of 100", "file:store"] {
            assert!(shown.contains(text), "{text} is not in\n{shown}");
        }
    }
}
