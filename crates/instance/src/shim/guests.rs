//! What comes from inside: how the user data ended, and signals.
use super::{MAX_FIELD, MAX_SIGNALS, Shim};
use crate::UserDataStatus;
use crate::frame::Connection;
use crate::protocol::{GuestMessage, GuestReply};

impl Shim {
    pub(super) fn guest_messages(&mut self) {
        let mut changed = false;
        if let Some(link) = &mut self.link {
            while let Ok(Some(message)) = link.next() {
                if let GuestMessage::UserData(status @ UserDataStatus::Exited(_)) = message {
                    self.report.user_data_status = status;
                    changed = true;
                }
            }
            if !link.is_open() {
                self.link = None;
            }
        }
        for guest in &mut self.guests {
            while let Ok(Some(message)) = guest.next() {
                let GuestMessage::Signal(mut signal) = message else {
                    guest.queue(&GuestReply::Refused("only signals are taken here".into()));
                    continue;
                };
                let fields = [
                    &signal.stack,
                    &signal.resource,
                    &signal.region,
                    &signal.reason,
                    &signal.data,
                    &signal.unique_id,
                    &signal.url,
                ];
                if fields.into_iter().flatten().any(|field| field.len() > MAX_FIELD) {
                    guest.queue(&GuestReply::Refused(format!(
                        "each value may have at most {MAX_FIELD} bytes"
                    )));
                } else if self.report.signals.len() >= MAX_SIGNALS {
                    guest.queue(&GuestReply::Refused(format!(
                        "{MAX_SIGNALS} signals wait to be taken, try again later"
                    )));
                } else {
                    self.report.next_signal += 1;
                    signal.sequence = self.report.next_signal;
                    self.report.signals.push(signal);
                    // On disk before the guest hears that it was kept.
                    match self.state.write_status(&self.report) {
                        Ok(()) => guest.queue(&GuestReply::Kept),
                        Err(error) => guest.queue(&GuestReply::Refused(error.to_string())),
                    }
                    changed = true;
                }
            }
        }
        self.guests.retain(Connection::is_open);
        if changed && let Err(error) = self.publish() {
            eprintln!("shim: {error}");
        }
    }
}
