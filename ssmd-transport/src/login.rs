//! Who we are to a server: a user's name, a password, or both, from one secret.

use std::fmt;

/// What a server wants to be shown. Neither part is ever printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    user: Option<String>,
    password: String,
}

impl Login {
    /// Reads `user:password`; a text without a colon is a password alone, and so is what follows a colon at the
    /// beginning. A user's name holds no colon, a password may.
    pub fn parse(secret: &str) -> Self {
        let (user, password) = secret.split_once(':').unwrap_or(("", secret));
        Self { user: (!user.is_empty()).then(|| user.to_owned()), password: password.to_owned() }
    }

    /// The user, if one is named.
    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password.
    pub(crate) fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_user_and_a_password_or_a_password_alone() {
        for (text, user, password) in [
            ("market:s3cret", Some("market"), "s3cret"),
            ("s3cret", None, "s3cret"),
            (":s3:cret", None, "s3:cret"),
            ("market:a:b", Some("market"), "a:b"),
        ] {
            let login = Login::parse(text);
            assert_eq!((login.user(), login.password()), (user, password), "{text}");
            assert!(!format!("{login:?}").contains("cret"));
        }
    }
}
