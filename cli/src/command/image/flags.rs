use clap::{Args, Subcommand};
use cooper_proto::reference::Reference;

const EXAMPLES: &str = "\
Examples:
  cooper image import rootfs.tar.gz debian-root  A root file system becomes an image
  debootstrap --variant=minbase bookworm root && cooper image import root debian-root
  cooper image import app.tar                    Take in what `docker save` or `cooper build -o` wrote
  cooper image ls
  cooper image history debian-root
  cooper image tag debian-root base:12
  cooper image rm base:12";

/// Look after the images on this machine.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ImageFlags {
    /// What to do
    #[command(subcommand)]
    pub command: ImageCommand,
}

/// What to do with images.
#[derive(Clone, Debug, Subcommand)]
pub enum ImageCommand {
    /// Make an image of a root file system, or take in images from an archive or an OCI layout
    Import {
        /// Archive, folder, or `-` for standard input
        source: String,
        /// Name of the image; images in an archive may have names of their own
        name: Option<Reference>,
        /// Dockerfile instruction to apply to the configuration; may be repeated
        #[arg(short, long, value_name = "INSTRUCTION")]
        change: Vec<String>,
        /// Comment for the image's history
        #[arg(short, long, default_value = "", value_name = "TEXT")]
        message: String,
        /// Platform of the image [default: this machine's]
        #[arg(long, value_name = "PLATFORM")]
        platform: Option<String>,
    },
    /// List the images
    #[command(visible_alias = "list")]
    Ls {
        /// Only the images' ids
        #[arg(short, long)]
        quiet: bool,
        /// Whole ids
        #[arg(long)]
        no_trunc: bool,
    },
    /// Show an image's configuration and layers as JSON
    Inspect {
        /// Name of the image
        name: Reference,
        /// Platform, when the image has several [default: this machine's]
        #[arg(long, value_name = "PLATFORM")]
        platform: Option<String>,
    },
    /// Show the steps that made an image, the newest first, with the size of each layer
    History {
        /// Name of the image
        name: Reference,
        /// Whole instructions
        #[arg(long)]
        no_trunc: bool,
        /// Platform, when the image has several [default: this machine's]
        #[arg(long, value_name = "PLATFORM")]
        platform: Option<String>,
    },
    /// Give an image another name
    Tag {
        /// Name that it has
        name: Reference,
        /// Name that it gets as well
        new: Reference,
    },
    /// Remove names, and what no other name needs
    #[command(visible_alias = "remove")]
    Rm {
        /// Names of images
        #[arg(required = true)]
        names: Vec<Reference>,
    },
}
