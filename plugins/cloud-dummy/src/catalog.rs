//! What the cloud offers: images, sizes, locations and networks.

use capstan_plugin_api::{
    ConfigSchema, DriverError,
    cloud::{Image, Location, Network, Size},
};
use serde::{Deserialize, Serialize};

/// What is there at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ConfigSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Contents {
    /// Two images, three sizes and locations, a network, and no node.
    #[default]
    Default,
    /// What Apache Libcloud's dummy driver has, two nodes among it; a new node is named and numbered as there.
    Libcloud,
}

/// An image, a size (MiB, GiB, processors) or a location, by its place in the list.
pub(crate) type Place = u16;

struct SizeOf(&'static str, &'static str, u64, u64, u32);

impl Contents {
    const fn image_table(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Default => &[("image-1", "debian-12"), ("image-2", "debian-13")],
            Self::Libcloud => &[("1", "Ubuntu 9.10"), ("2", "Ubuntu 9.04"), ("3", "Slackware 4")],
        }
    }

    const fn size_table(self) -> &'static [SizeOf] {
        match self {
            Self::Default => &[
                SizeOf("size-1", "small", 2048, 20, 1),
                SizeOf("size-2", "medium", 4096, 40, 2),
                SizeOf("size-3", "large", 8192, 80, 4),
            ],
            Self::Libcloud => &[
                SizeOf("1", "Small", 128, 4, 0),
                SizeOf("2", "Medium", 512, 16, 0),
                SizeOf("3", "Big", 4096, 32, 0),
                SizeOf("4", "XXL Big", 8192, 128, 0),
            ],
        }
    }

    const fn location_table(self) -> &'static [(&'static str, &'static str, Option<&'static str>)] {
        match self {
            Self::Default => &[("zone-1", "zone-1", None), ("zone-2", "zone-2", None), ("zone-3", "zone-3", None)],
            Self::Libcloud => &[
                ("1", "Paul's Room", Some("US")),
                ("2", "London Loft", Some("GB")),
                ("3", "Island Datacenter", Some("FJ")),
            ],
        }
    }

    pub(crate) fn images(self) -> impl Iterator<Item = Image> {
        let table = self.image_table().iter();
        table.map(|(id, name)| Image { id: (*id).into(), name: (*name).into(), ..Image::default() })
    }

    pub(crate) fn sizes(self) -> impl Iterator<Item = Size> {
        self.size_table().iter().map(|SizeOf(id, name, ram, disk, vcpus)| Size {
            id: (*id).into(),
            name: (*name).into(),
            ram_mib: *ram,
            disk_gib: *disk,
            vcpus: *vcpus,
            ..Size::default()
        })
    }

    pub(crate) fn locations(self) -> impl Iterator<Item = Location> {
        self.location_table().iter().map(|(id, name, country)| Location {
            id: (*id).into(),
            name: (*name).into(),
            country: country.map(str::to_owned),
        })
    }

    pub(crate) fn networks(self) -> impl Iterator<Item = Network> {
        let private = ("network-1", "private", "10.0.0.0/8");
        let networks = (self == Self::Default).then_some(private).into_iter();
        networks.map(|(id, name, cidr)| Network { id: id.into(), name: name.into(), cidr: Some(cidr.into()) })
    }

    pub(crate) fn image(self, id: &str) -> Result<Place, DriverError> {
        place("image", id, self.image_table().iter().map(|(id, _)| *id))
    }

    pub(crate) fn size(self, id: &str) -> Result<Place, DriverError> {
        place("size", id, self.size_table().iter().map(|size| size.0))
    }

    pub(crate) fn location(self, id: &str) -> Result<Place, DriverError> {
        place("location", id, self.location_table().iter().map(|(id, ..)| *id))
    }

    pub(crate) fn network(self, id: &str) -> Result<(), DriverError> {
        self.networks().find(|network| network.id == id).map(drop).ok_or_else(|| unknown("network", id))
    }

    /// Ids of an image, a size and a location; a place of another version's file has none.
    pub(crate) fn image_id(self, place: Place) -> Option<String> {
        self.image_table().get(usize::from(place)).map(|(id, _)| (*id).to_owned())
    }

    pub(crate) fn size_id(self, place: Place) -> Option<String> {
        self.size_table().get(usize::from(place)).map(|size| size.0.to_owned())
    }

    pub(crate) fn location_id(self, place: Place) -> Option<&'static str> {
        self.location_table().get(usize::from(place)).map(|(id, ..)| *id)
    }

    /// Processors and MiB of a size.
    pub(crate) fn weight(self, size: Place) -> (u64, u64) {
        self.size_table().get(usize::from(size)).map_or((0, 0), |size| (u64::from(size.4), size.2))
    }

    /// Where a node goes that asks for no location.
    pub(crate) fn location_in_turn(self, number: u64) -> Place {
        (number.saturating_sub(1) % self.location_table().len() as u64) as Place
    }
}

fn place(what: &str, id: &str, mut ids: impl Iterator<Item = &'static str>) -> Result<Place, DriverError> {
    let found = ids.position(|known| known == id);
    found.map(|place| place as Place).ok_or_else(|| unknown(what, id))
}

pub(crate) fn unknown(what: &str, id: &str) -> DriverError {
    // A huge id would make a huge message.
    let shown: String = id.chars().take(100).collect();
    DriverError::not_found(format!("the cloud has no {what} {shown:?}"))
}
