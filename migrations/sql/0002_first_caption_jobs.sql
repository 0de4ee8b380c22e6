-- The captions that were there before: those of images that are searchable.

INSERT INTO clipgres.caption_job (collection_id, image_id)
SELECT j.collection_id, j.image_id
FROM clipgres.job j
WHERE j.status = 'ok' AND EXISTS (SELECT FROM clipgres.caption c WHERE c.image_id = j.image_id)
ON CONFLICT DO NOTHING;
