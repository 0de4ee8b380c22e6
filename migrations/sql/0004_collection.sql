-- Pauses; it may be run twice: clipgres/schema/work.py says what each column and table is for.

ALTER TABLE clipgres.collection ADD COLUMN IF NOT EXISTS paused_at TIMESTAMP WITH TIME ZONE;
