"""The tables of schema `clipgres` as SQLAlchemy models; tables of single collections are made by `collections`.

A row of `job` is the record of work: a message in Redis is only a hint that there is some. `image` holds what
fetching a URL found, shared by every collection. `item` and `caption_embedding` are empty templates.
"""

from clipgres.schema.base import ALIAS_PATTERN, KEY_MAX_BYTES, NAMESPACE_MAX_BYTES, SCHEMA, VIEWS, Base
from clipgres.schema.content import Caption, CaptionEmbedding, Item, ItemLabel, QueryEmbedding, QueryRefusal, Thumbnail
from clipgres.schema.duplicates import Duplicate, DuplicateDecision, DuplicateLook, DuplicateRule, Placeholder
from clipgres.schema.records import BackupRun, QualitySample, SavedSearch
from clipgres.schema.states import CollectionState, DuplicateKind, ImageState, JobStatus
from clipgres.schema.work import (
    Alias,
    Batch,
    BatchJob,
    CaptionJob,
    Collection,
    FetchAttempt,
    Host,
    Image,
    Job,
    RefusedLine,
)

__all__ = [
    "ALIAS_PATTERN",
    "KEY_MAX_BYTES",
    "NAMESPACE_MAX_BYTES",
    "SCHEMA",
    "VIEWS",
    "Alias",
    "BackupRun",
    "Base",
    "Batch",
    "BatchJob",
    "Caption",
    "CaptionEmbedding",
    "CaptionJob",
    "Collection",
    "CollectionState",
    "Duplicate",
    "DuplicateDecision",
    "DuplicateKind",
    "DuplicateLook",
    "DuplicateRule",
    "FetchAttempt",
    "Host",
    "Image",
    "ImageState",
    "Item",
    "ItemLabel",
    "Job",
    "JobStatus",
    "Placeholder",
    "QualitySample",
    "QueryEmbedding",
    "QueryRefusal",
    "RefusedLine",
    "SavedSearch",
    "Thumbnail",
]
