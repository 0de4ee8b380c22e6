DROP VIEW public.clip_duplicates;
DROP TABLE clipgres.duplicate, clipgres.duplicate_look, clipgres.duplicate_rule, clipgres.duplicate_decision,
    clipgres.placeholder;
