-- Drops what revision 0003 made, save `clip_text`, which 0001 made.

DROP FUNCTION public.similar_to(text, text, integer, text);
DROP FUNCTION public.clip_score(public.halfvec, text, text);
DROP FUNCTION public.clip_score(public.halfvec, public.halfvec);
DROP PROCEDURE public.clip_embed(text, text);
DROP FUNCTION public.clip_wish(text, text, boolean, timestamptz);
DROP SCHEMA collection_captions CASCADE;
DROP TABLE clipgres.query_refusal;
DROP FUNCTION clipgres.normal_text(text);
DROP FUNCTION clipgres.collection_named(text);
