//! `backend-setup`: a storage server takes packets for the VIPs.

use clap::Args;

use super::{Manner, back, forth};
use crate::{
    cli::{Error, Outcome, screen::Screen},
    host::{
        Host,
        backend::{
            self, Mode, Setup,
            print::{Format, print},
            setup::{Interface, Vip},
        },
        record::{Author, Record},
    },
    system::privilege,
};

#[derive(Debug, Args)]
pub(crate) struct BackendSetup {
    /// The addresses that the balancers announce
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', num_args = 1.., required_unless_present = "undo")]
    vip: Vec<Vip>,
    /// How packets for the VIPs come
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// What they come by, instead of the interface of the default route
    #[arg(long, value_name = "IF")]
    interface: Option<Interface>,
    /// Put back what was there before, as it was recorded
    #[arg(long, conflicts_with_all = ["vip", "mode", "interface"])]
    undo: bool,
    /// Print the same for a machine without this program, and look at and change nothing here
    #[arg(long, value_enum, conflicts_with_all = ["undo", "dry_run", "yes", "json"])]
    print: Option<Format>,
    #[command(flatten)]
    manner: Manner,
}

impl BackendSetup {
    pub(crate) async fn run(self, screen: &mut Screen) -> Result<Outcome, Error> {
        let author = Author::BackendSetup;
        let mut setup = Setup {
            vips: self.vip.into_iter().collect(),
            mode: self.mode,
            interface: self.interface,
        };
        if let Some(format) = self.print {
            screen.line(print(&setup, format).trim_end())?;
            return Ok(Outcome::Done);
        }
        privilege::require(&privilege::MACHINE)?;
        let host = Host::here();
        if self.undo {
            return back(&host, author, author.parts(), self.manner, screen).await;
        }
        if setup.interface.is_none() {
            setup.interface = backend::look::usual_interface(&host).await;
        }
        let plan = async |record: &Record| {
            let facts = backend::look(&host, record, &setup).await?;
            Ok(vec![backend::plan(&facts, &setup)])
        };
        forth(&host, author, self.manner, plan, screen).await
    }
}
