//! A serializer around serde_json's that refuses what the wire cannot carry.
//!
//! It adds a comparison per float and per nesting to the one pass, and inlines away otherwise.
//! Where an error was is found out on its way up: each level adds its own part of the path.

use std::cell::{Cell, RefCell};
use std::fmt::Display;

use serde::ser::{Error, Serialize, Serializer};

use super::compound::Compound;

/// A value that is written through a [`Checker`].
pub(super) struct Checked<'a, T: ?Sized> {
    value: &'a T,
    notes: &'a Notes,
    room: usize,
}

impl<'a, T: ?Sized> Checked<'a, T> {
    /// `room` more arrays and objects inside each other are allowed.
    #[inline]
    pub(super) fn new(value: &'a T, notes: &'a Notes, room: usize) -> Self {
        Self { value, notes, room }
    }
}

impl<T: Serialize + ?Sized> Serialize for Checked<'_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Checker {
            inner: serializer,
            notes: self.notes,
            room: self.room,
        })
    }
}

/// What is found out beside the JSON.
#[derive(Default)]
pub(super) struct Notes {
    refusal: Cell<Option<Refusal>>,
    needs_scan: Cell<bool>,
    /// Innermost first.
    path: RefCell<Vec<Part>>,
}

/// Why a value cannot be carried.
#[derive(Clone, Copy)]
pub(super) enum Refusal {
    NonFinite(f64),
    TooDeep,
}

/// A part of a path.
pub(super) enum Part {
    Name(&'static str),
    Key(String),
    Index(usize),
}

impl Notes {
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal.get()
    }

    /// Whether something was written whose soundness its types do not tell.
    pub(super) fn needs_scan(&self) -> bool {
        self.needs_scan.get()
    }

    /// `items[0].price`, or nothing for the outermost value.
    pub(super) fn path(&self) -> String {
        let mut path = String::new();
        for part in self.path.borrow().iter().rev() {
            let name = match part {
                Part::Index(index) => {
                    path.push_str(&format!("[{index}]"));
                    continue;
                }
                Part::Name(name) => name,
                Part::Key(key) => key.as_str(),
            };
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
        }
        path
    }

    #[cold]
    pub(super) fn inside<E>(&self, error: E, part: Part) -> E {
        self.path.borrow_mut().push(part);
        error
    }

    #[cold]
    fn refuse<E: Error>(&self, refusal: Refusal) -> E {
        self.refusal.set(Some(refusal));
        E::custom("refused")
    }
}

/// The serializer.
pub(super) struct Checker<'a, S> {
    inner: S,
    notes: &'a Notes,
    room: usize,
}

impl<'a, S: Serializer> Checker<'a, S> {
    /// The room that is left inside `levels` more arrays and objects.
    #[inline]
    fn enter(&self, levels: usize) -> Result<usize, S::Error> {
        match self.room.checked_sub(levels) {
            Some(room) => Ok(room),
            None => Err(self.notes.refuse(Refusal::TooDeep)),
        }
    }
}

macro_rules! forward {
    ($($method:ident($($type:ty)?))*) => {$(
        #[inline]
        fn $method(self $(, value: $type)?) -> Result<S::Ok, S::Error> {
            self.inner.$method($(value as $type)?)
        }
    )*};
}

impl<'a, S: Serializer> Serializer for Checker<'a, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Compound<'a, S::SerializeSeq>;
    type SerializeTuple = Compound<'a, S::SerializeTuple>;
    type SerializeTupleStruct = Compound<'a, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Compound<'a, S::SerializeTupleVariant>;
    type SerializeMap = Compound<'a, S::SerializeMap>;
    type SerializeStruct = Compound<'a, S::SerializeStruct>;
    type SerializeStructVariant = Compound<'a, S::SerializeStructVariant>;

    forward! {
        serialize_bool(bool)
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64) serialize_i128(i128)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64) serialize_u128(u128)
        serialize_char(char) serialize_str(&str) serialize_bytes(&[u8])
        serialize_unit_struct(&'static str) serialize_unit() serialize_none()
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        if !value.is_finite() {
            return Err(self.notes.refuse(Refusal::NonFinite(value.into())));
        }
        self.inner.serialize_f32(value)
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        if !value.is_finite() {
            return Err(self.notes.refuse(Refusal::NonFinite(value)));
        }
        self.inner.serialize_f64(value)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner
            .serialize_some(&Checked::new(value, self.notes, self.room))
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.inner
            .serialize_newtype_struct(name, &Checked::new(value, self.notes, self.room))
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let room = self.enter(1)?;
        let notes = self.notes;
        self.inner
            .serialize_newtype_variant(name, index, variant, &Checked::new(value, notes, room))
            .map_err(|error| notes.inside(error, Part::Name(variant)))
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        let (room, notes) = (self.enter(1)?, self.notes);
        Ok(Compound::new(
            self.inner.serialize_seq(len)?,
            notes,
            room,
            None,
        ))
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        let (room, notes) = (self.enter(1)?, self.notes);
        Ok(Compound::new(
            self.inner.serialize_tuple(len)?,
            notes,
            room,
            None,
        ))
    }

    #[inline]
    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        let (room, notes) = (self.enter(1)?, self.notes);
        Ok(Compound::new(
            self.inner.serialize_tuple_struct(name, len)?,
            notes,
            room,
            None,
        ))
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        // An array inside an object of one member.
        let (room, notes) = (self.enter(2)?, self.notes);
        let inner = self
            .inner
            .serialize_tuple_variant(name, index, variant, len)?;
        Ok(Compound::new(inner, notes, room, Some(variant)))
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        let (room, notes) = (self.enter(1)?, self.notes);
        // Different keys may read the same, as a flattened map beside fields.
        notes.needs_scan.set(true);
        Ok(Compound::new(
            self.inner.serialize_map(len)?,
            notes,
            room,
            None,
        ))
    }

    #[inline]
    fn serialize_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStruct, S::Error> {
        let notes = self.notes;
        // serde_json's own types, raw JSON above all, pass as structs of a name no Rust type has.
        let room = if name.starts_with('$') {
            notes.needs_scan.set(true);
            self.room
        } else {
            self.enter(1)?
        };
        Ok(Compound::new(
            self.inner.serialize_struct(name, len)?,
            notes,
            room,
            None,
        ))
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        let (room, notes) = (self.enter(2)?, self.notes);
        let inner = self
            .inner
            .serialize_struct_variant(name, index, variant, len)?;
        Ok(Compound::new(inner, notes, room, Some(variant)))
    }

    #[inline]
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}
