//! Random edits of random documents, and the forms that people write.

use proptest::prelude::*;

use super::*;
use crate::environment::problem::Span;

/// A document that is about to be written: a value, and how it is written.
#[derive(Clone, Debug)]
enum Doc {
    Scalar(String, u8),
    List(bool, Vec<Doc>),
    Map(bool, Vec<Doc>),
}

fn docs() -> impl Strategy<Value = Doc> {
    let text =
        prop_oneof!["[a-z]{1,6}", Just("BTC/USD".to_owned()), Just("é # x: [".to_owned()), "[0-9]{1,4}"];
    let leaf = (text, 0..4_u8).prop_map(|(text, style)| Doc::Scalar(text, style));
    let inner = leaf.prop_recursive(4, 24, 5, |inner| {
        let list = (any::<bool>(), prop::collection::vec(inner.clone(), 0..5));
        let map = (any::<bool>(), prop::collection::vec(inner, 0..5));
        prop_oneof![
            list.prop_map(|(flow, items)| Doc::List(flow || items.is_empty(), items)),
            map.prop_map(|(flow, items)| Doc::Map(flow || items.is_empty(), items)),
        ]
    });
    prop::collection::vec(inner, 1..5).prop_map(|items| Doc::Map(false, items))
}

/// Writes documents in the ways that people do, with comments that can be told from one another.
struct Writer {
    out: String,
    seed: u64,
    comments: usize,
    step: usize,
}

impl Writer {
    fn write(doc: &Doc, seed: u64, eol: &str, ends: bool) -> String {
        let mut writer =
            Self { out: String::new(), seed: seed | 1, comments: 0, step: 2 + (seed % 3) as usize };
        writer.own_line(0);
        writer.block(doc, 0, false);
        writer.own_line(0);
        let text = writer.out.replace('\n', eol);
        if ends { text } else { text.trim_end().to_owned() }
    }

    fn chance(&mut self, of: u64) -> bool {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed.is_multiple_of(of)
    }

    fn comment(&mut self) -> String {
        self.comments += 1;
        format!("# comment {}, of [many]", self.comments)
    }

    fn own_line(&mut self, indent: usize) {
        if self.chance(6) {
            let comment = self.comment();
            self.out += &format!("{:indent$}{comment}\n", "");
        } else if self.chance(8) {
            self.out.push('\n');
        }
    }

    fn end_line(&mut self) {
        if self.chance(4) {
            let comment = self.comment();
            self.out += &format!("  {comment}");
        }
        self.out.push('\n');
    }

    /// Writes a block's lines; the first without its indentation if it goes on behind a dash.
    fn block(&mut self, doc: &Doc, indent: usize, mut behind_dash: bool) {
        let (children, dash) = match doc {
            Doc::List(_, items) => (items, true),
            Doc::Map(_, items) => (items, false),
            Doc::Scalar(..) => return,
        };
        for (at, child) in children.iter().enumerate() {
            if !std::mem::take(&mut behind_dash) {
                if at != 1 {
                    self.own_line(indent);
                }
                self.out += &" ".repeat(indent);
            }
            if dash {
                self.out += "- ";
                match child {
                    Doc::Map(false, _) => self.block(child, indent + 2, true),
                    _ => self.line(child, indent + 2),
                }
            } else {
                self.out += &format!("k{at}:");
                match child {
                    Doc::Map(false, _) | Doc::List(false, _) => {
                        self.end_line();
                        let less = matches!(child, Doc::List(..)) && self.chance(3);
                        self.block(child, indent + if less { 0 } else { self.step }, false);
                    }
                    _ => {
                        self.out.push(' ');
                        self.line(child, indent + self.step);
                    }
                }
            }
        }
    }

    fn line(&mut self, doc: &Doc, indent: usize) {
        self.flow(doc, indent);
        self.end_line();
    }

    fn flow(&mut self, doc: &Doc, indent: usize) {
        let (children, open, close, map) = match doc {
            Doc::Scalar(text, style) => {
                let written = match style {
                    0 => format!("'{text}'"),
                    1 => format!("\"{text}\""),
                    _ => render(&Value::Text(text.clone())),
                };
                return self.out.push_str(&written);
            }
            Doc::List(_, items) => (items, '[', ']', false),
            Doc::Map(_, items) => (items, '{', '}', true),
        };
        let lines = self.chance(3) && !children.is_empty();
        self.out.push(open);
        for (at, child) in children.iter().enumerate() {
            if lines {
                self.end_line();
                self.out += &" ".repeat(indent);
            } else if at > 0 || map {
                self.out.push(' ');
            }
            if map {
                self.out += &format!("k{at}: ");
            }
            self.flow(child, indent + 2);
            if at + 1 < children.len() || self.chance(4) {
                self.out.push(',');
            }
        }
        if lines {
            self.end_line();
            self.out += &" ".repeat(indent);
        } else if map {
            self.out.push(' ');
        }
        self.out.push(close);
    }
}

/// Every node with its path.
fn nodes<'n>(node: &'n Node, path: &mut Vec<Step>, found: &mut Vec<(Vec<Step>, &'n Node)>) {
    found.push((path.clone(), node));
    let steps: Vec<Step> = match &node.shape {
        Shape::Scalar { .. } => Vec::new(),
        Shape::List { items, .. } => (0..items.len()).map(Step::from).collect(),
        Shape::Map { entries, .. } => entries.iter().map(|(key, _)| key.text.as_str().into()).collect(),
    };
    for (at, step) in steps.into_iter().enumerate() {
        path.push(step);
        nodes(node.child(at).unwrap(), path, found);
        path.pop();
    }
}

fn comments(text: &str) -> Vec<&str> {
    text.match_indices("# comment").map(|(at, _)| text[at..].split(',').next().unwrap()).collect()
}

fn whole_lines(text: &str, span: Span) -> Span {
    let start = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let end = text[span.end..].find('\n').map_or(text.len(), |at| span.end + at + 1);
    Span::new(start, end)
}

/// Where the old text may differ from the new one.
fn allowed(text: &str, root: &Node, edit: &Edit) -> Span {
    match edit {
        Edit::Set(path, _) => {
            let (node, rest) = root.descend(path);
            match rest {
                [] if node.is_block() && key_of(root, path) => {
                    let (last, holder) = path.split_last().unwrap();
                    let holder = root.descend(holder).0;
                    let entry = holder.children()[holder.position(last).unwrap()];
                    Span::new(entry.start, whole_lines(text, entry).end)
                }
                [] => node.span,
                _ => behind_last(text, node),
            }
        }
        Edit::Append(path, _) => behind_last(text, root.descend(path).0),
        Edit::Remove(path) => {
            let (last, holder) = path.split_last().unwrap();
            let node = root.descend(holder).0;
            let (children, at) = (node.children(), node.position(last).unwrap());
            let lines = whole_lines(text, children[at]);
            let before =
                at.checked_sub(1).map_or(lines.start, |before| lines.start.min(children[before].end));
            let next = children.get(at + 1).map_or(lines.end, |next| lines.end.max(next.start));
            Span::new(before, next)
        }
    }
}

fn key_of(root: &Node, path: &[Step]) -> bool {
    let Some((Step::Key(_), holder)) = path.split_last() else { return false };
    matches!(root.descend(holder).0.shape, Shape::Map { .. })
}

/// From the end of the last child to the end of a line.
fn behind_last(text: &str, node: &Node) -> Span {
    let start = node.children().last().map_or(node.span.start + 1, |last| last.end);
    let end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    Span::new(start, end.max(if node.is_flow() { node.span.end } else { 0 }))
}

fn check(text: &str, edit: &Edit) {
    let root = layout::parse(text).unwrap();
    let mut wanted = root.value();
    wanted.change(edit).unwrap();
    let edited = one(text, edit).unwrap_or_else(|error| panic!("{edit:?}: {error:?}\n{text}"));
    assert_eq!(read(&edited).unwrap(), wanted);
    // What takes away the last child leaves brackets in its place.
    let edit = &match edit {
        Edit::Remove(path) if root.descend(&path[..path.len() - 1]).0.children().len() == 1 => {
            Edit::Set(path[..path.len() - 1].to_vec(), Value::List(Vec::new()))
        }
        edit => edit.clone(),
    };
    let span = allowed(text, &root, edit);
    let (before, after) = (&text[..span.start], &text[span.end..]);
    assert!(edited.starts_with(before), "{edit:?} changed what stands before\n{text}\n->\n{edited}");
    assert!(edited.ends_with(after), "{edit:?} changed what stands behind\n{text}\n->\n{edited}");
    let kept: Vec<_> = match edit {
        Edit::Remove(_) => comments(before).into_iter().chain(comments(after)).collect(),
        Edit::Set(path, _) if root.descend(path).1.is_empty() => {
            let node = root.descend(path).0;
            // What stands as lines of its own goes as lines, with the comments in and behind it.
            let outer =
                if node.is_block() && key_of(&root, path) { whole_lines(text, node.span) } else { node.span };
            comments(&text[..outer.start]).into_iter().chain(comments(&text[outer.end..])).collect()
        }
        _ => comments(text),
    };
    let left = comments(&edited);
    for comment in kept {
        assert!(left.contains(&comment), "{edit:?} lost {comment}\n{text}\n->\n{edited}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn random_edits_change_what_they_say_and_nothing_else(
        doc in docs(), seed in any::<u64>(), eol in prop_oneof![Just("\n"), Just("\r\n")], ends in any::<bool>(),
        at in any::<prop::sample::Index>(), new in "[a-zA-Z0-9 :#'\"\\[é-]{0,8}", what in 0..4_u8,
    ) {
        let text = Writer::write(&doc, seed, eol, ends);
        let root = layout::parse(&text).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
        let mut found = Vec::new();
        nodes(&root, &mut Vec::new(), &mut found);
        let (path, node) = found.swap_remove(at.index(found.len()));
        let path_to = |step: Step| path.iter().cloned().chain([step]).collect::<Vec<_>>();
        let edit = match (&node.shape, what) {
            (Shape::List { .. }, 0) => Edit::Append(path, vec![Value::Text(new), Value::Word("7".into())]),
            (Shape::List { items, .. }, 1) if !items.is_empty() => Edit::Remove(path_to((seed as usize % items.len()).into())),
            (Shape::Map { .. }, 0) => Edit::Set(path_to("fresh".into()), Value::Text(new)),
            (Shape::Map { .. }, 2) => Edit::Set(
                [path_to("fresh".into()), vec!["deep".into()]].concat(),
                Value::Map(vec![("list".into(), Value::List(vec![Value::Text(new)])), ("truth".into(), true.into())]),
            ),
            (Shape::Map { entries, .. }, 1) if !entries.is_empty() => {
                let key = &entries[seed as usize % entries.len()].0.text;
                Edit::Remove(path_to(key.as_str().into()))
            }
            _ if !path.is_empty() => Edit::Set(path, Value::Text(new)),
            _ => return Ok(()),
        };
        if !is_refused(&text, &root, &edit) {
            check(&text, &edit);
        }
    }

    #[test]
    fn no_text_and_no_edit_ends_in_a_panic(text in "[-:?{}\\[\\],&*!|>'\"# \na-c0é\u{feff}\r]{0,60}", at in any::<prop::sample::Index>(), what in 0..3_u8) {
        let Ok(root) = layout::parse(&text) else { return Ok(()) };
        let mut found = Vec::new();
        nodes(&root, &mut Vec::new(), &mut found);
        let (path, _) = found.swap_remove(at.index(found.len()));
        let edit = match what {
            0 => Edit::Set(path, "x".into()),
            1 => Edit::Append(path, vec!["x".into()]),
            _ => Edit::Remove(path),
        };
        if let Ok(edited) = one(&text, &edit) {
            let mut wanted = root.value();
            wanted.change(&edit).unwrap();
            prop_assert_eq!(read(&edited).unwrap(), wanted);
        }
    }
}

/// What is refused for a reason: the first of several keys behind a dash, with a comment before the next one.
fn is_refused(text: &str, root: &Node, edit: &Edit) -> bool {
    let Edit::Remove(path) = edit else { return false };
    let (last, holder) = path.split_last().unwrap();
    let node = root.descend(holder).0;
    let (children, at) = (node.children(), node.position(last).unwrap());
    let behind_a_dash = text[whole_lines(text, children[at]).start..children[at].start].trim() == "-";
    let next = children.get(at + 1).map_or(children[at].end, |next| next.start);
    node.is_block()
        && matches!(node.shape, Shape::Map { .. })
        && behind_a_dash
        && text[children[at].end..next].matches('#').count() > 0
}

fn edited(text: &str, edit: Edit) -> String {
    super::edit(text, &[edit]).unwrap()
}

fn path(keys: &str) -> Vec<Step> {
    let step = |key: &str| key.parse::<usize>().map_or_else(|_| key.into(), Step::from);
    if keys.is_empty() { Vec::new() } else { keys.split('.').map(step).collect() }
}

#[test]
fn lists_grow_in_the_form_they_have() {
    let append = |text: &str| edited(text, Edit::Append(path("a"), vec!["c/d".into(), "*".into()]));
    for (before, after) in [
        ("a: [b]\n", "a: [b, c/d, \"*\"]\n"),
        ("a: []  # none\n", "a: [c/d, \"*\"]  # none\n"),
        ("a: [ \"b\", ] # x\n", "a: [ \"b\", \"c/d\", \"*\" ] # x\n"),
        ("a: ['b']", "a: ['b', 'c/d', '*']"),
        ("a:\n  - b # x\n# y\nd: 1\n", "a:\n  - b # x\n  - c/d\n  - \"*\"\n# y\nd: 1\n"),
        ("a:\n-   \"b\"", "a:\n-   \"b\"\n-   \"c/d\"\n-   \"*\""),
        ("a:\r\n  - b\r\n", "a:\r\n  - b\r\n  - c/d\r\n  - \"*\"\r\n"),
        ("a: [\n  b, # x\n  e # y\n ]\n", "a: [\n  b, # x\n  e, # y\n  c/d,\n  \"*\"\n ]\n"),
        ("a: [\n  b,\n ]\n", "a: [\n  b,\n  c/d,\n  \"*\",\n ]\n"),
        ("a:\n  - { b: 1 }\n", "a:\n  - { b: 1 }\n  - c/d\n  - \"*\"\n"),
    ] {
        assert_eq!(append(before), after);
    }
}

#[test]
fn keys_are_set_where_they_stand_or_behind_the_last() {
    for (before, at, value, after) in [
        ("a: 1 # x\n", "a", Value::Word("2".into()), "a: 2 # x\n"),
        ("a: 'x'\n", "a", "it's".into(), "a: 'it''s'\n"),
        ("a: \"x\"\n", "a", "y".into(), "a: \"y\"\n"),
        ("a: x\n", "a", "10".into(), "a: \"10\"\n"),
        ("a:  # why\nb: 1\n", "a", "x".into(), "a: x  # why\nb: 1\n"),
        ("a: { b: 1 }\n", "a.c", true.into(), "a: { b: 1, c: true }\n"),
        ("a: {}\n", "a.c.d", true.into(), "a: { c: { d: true } }\n"),
        ("a:\n   b: 1 # x\n\n# y\nz: 1\n", "a.c", true.into(), "a:\n   b: 1 # x\n   c: true\n\n# y\nz: 1\n"),
        ("a:\n   b: 1\nz: 1", "z2.c.d", true.into(), "a:\n   b: 1\nz: 1\nz2:\n   c:\n      d: true"),
        (
            "a:\n  - b # x\n  - c\n",
            "a.1",
            Value::Map(vec![("m".into(), "c".into())]),
            "a:\n  - b # x\n  - { m: c }\n",
        ),
        ("a: # x\n  - b\n  - c\nd: 1\n", "a", Value::List(vec!["e".into()]), "a: [e] # x\nd: 1\n"),
    ] {
        assert_eq!(edited(before, Edit::Set(path(at), value)), after);
    }
}

#[test]
fn what_is_removed_takes_its_line_and_no_other() {
    for (before, at, after) in [
        ("a: [b, c, d]\n", "a.0", "a: [c, d]\n"),
        ("a: [b, c, d]\n", "a.2", "a: [b, c]\n"),
        ("a: [b]\n", "a.0", "a: []\n"),
        ("a: [\n  b, # x\n  c, # y\n ]\n", "a.0", "a: [\n  c, # y\n ]\n"),
        ("a: [\n  b, # x\n  c # y\n ]\n", "a.1", "a: [\n  b, # x\n ]\n"),
        ("a:\n  - b # x\n  # of c\n  - c\n", "a.0", "a:\n  # of c\n  - c\n"),
        ("a:\n  - b\n  - c # x", "a.1", "a:\n  - b\n"),
        ("a:\n  - b\n# x\nd: 1\n", "a.0", "a: []\n# x\nd: 1\n"),
        ("a:\n  - n: 1 # x\n    m: 2\n", "a.0.n", "a:\n  - m: 2\n"),
        ("a:\n  - n: 1\n    m: 2\n", "a.0.m", "a:\n  - n: 1\n"),
        ("a: 1\nb:\n  c: [\n   d ]\ne: 2\n", "b", "a: 1\ne: 2\n"),
        ("a: { b: 1, c: 2 }\n", "a.b", "a: { c: 2 }\n"),
    ] {
        assert_eq!(edited(before, Edit::Remove(path(at))), after);
    }
}

#[test]
fn what_cannot_be_edited_is_refused() {
    for (text, edit) in [
        ("a: &x 1\n", Edit::Set(path("a"), "b".into())),
        ("a: |\n  text\n", Edit::Set(path("a"), "b".into())),
        ("a: 1\n--- \nb: 1\n", Edit::Set(path("a"), "b".into())),
        ("a: 1\n", Edit::Set(path("a.b"), "b".into())),
        ("a: 1\n", Edit::Append(path("a"), vec!["b".into()])),
        ("a: [1]\n", Edit::Set(path("a.1"), "b".into())),
        ("a: [1]\n", Edit::Remove(path("a.1"))),
        ("a: [1]\n", Edit::Remove(Vec::new())),
        ("a: 1\na: 2\n", Edit::Remove(path("a"))),
        ("a: [\n", Edit::Remove(path("a"))),
        ("", Edit::Set(path("a"), "b".into())),
        ("a:\n  -\n    b\n", Edit::Append(path("a"), vec!["c".into()])),
    ] {
        assert!(super::edit(text, std::slice::from_ref(&edit)).is_err(), "{text} {edit:?}");
    }
}
