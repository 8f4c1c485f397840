//! What somebody may do. The words are those of the table `role_permissions`; a word that this build does not know gives nothing.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $word:literal),+ $(,)?) => {
        /// One permission.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Permission {
            $($(#[$doc])* $name,)+
        }

        impl Permission {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its word, as in the table and in answers.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

permissions! {
    /// Reads all partners.
    PartnersRead = "partners.read",
    /// Creates and changes partners.
    PartnersWrite = "partners.write",
    /// Reads connections: shortcodes, cores, products, SMS settings.
    ConnectionsRead = "connections.read",
    /// Changes connections and their credentials.
    ConnectionsWrite = "connections.write",
    /// Reads disbursements.
    DisbursementsRead = "disbursements.read",
    /// Starts disbursements.
    DisbursementsCreate = "disbursements.create",
    /// Retries and cancels disbursements.
    DisbursementsAct = "disbursements.act",
    /// Rules on disbursements with evidence (rule A13).
    DisbursementsResolve = "disbursements.resolve",
    /// Approves what somebody else started.
    DisbursementsApprove = "disbursements.approve",
    /// Reads items.
    ItemsRead = "items.read",
    /// Settles items.
    ItemsAct = "items.act",
    /// Sets and lifts STOP (rule A20).
    StopSet = "stop.set",
    /// Reads wallets.
    WalletRead = "wallet.read",
    /// Corrects wallets.
    WalletAdjust = "wallet.adjust",
    /// Makes and revokes API keys.
    KeysWrite = "keys.write",
    /// Reads the audit trail.
    AuditRead = "audit.read",
    /// Authorises float purchases.
    FloatAuthorise = "float.authorise",
    /// Releases a shortcode from quarantine (rule A21).
    QuarantineRelease = "quarantine.release",
}

impl Permission {
    /// Changes nothing.
    pub fn only_reads(self) -> bool {
        self.as_str().rsplit('.').next() == Some("read")
    }

    /// The known ones among these words.
    pub fn known<'a>(words: impl IntoIterator<Item = &'a str>) -> BTreeSet<Self> {
        words.into_iter().filter_map(|word| word.parse().ok()).collect()
    }
}

/// The word is no permission of this build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such permission")]
pub struct NoSuchPermission;

impl FromStr for Permission {
    type Err = NoSuchPermission;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|p| p.as_str() == word).ok_or(NoSuchPermission)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Permission {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Permission {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back_as_itself() {
        for permission in Permission::ALL {
            assert_eq!(permission.as_str().parse::<Permission>(), Ok(*permission));
        }
        assert_eq!("partners.delete".parse::<Permission>(), Err(NoSuchPermission));
    }

    #[test]
    fn a_word_of_a_newer_build_gives_nothing() {
        let known = Permission::known(["items.read", "items.destroy"]);
        assert_eq!(known, BTreeSet::from([Permission::ItemsRead]));
    }

    /// The words of migration 0001 and of this file are the same set.
    #[test]
    fn the_migration_and_this_list_name_the_same_permissions() {
        let sql = include_str!("../../../../migrations/0001_foundation.up.sql");
        let admin = sql.lines().find(|line| line.contains("('platform_admin', array[")).unwrap();
        let list = admin.split_once('[').and_then(|(_, rest)| rest.split_once(']')).unwrap().0;
        let granted = Permission::known(list.split(',').map(|word| word.trim().trim_matches('\'')));
        assert_eq!(granted, Permission::ALL.iter().copied().collect());
        assert_eq!(list.split(',').count(), Permission::ALL.len());
    }
}
