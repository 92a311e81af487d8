-- One row for each message of each conversation.
--
-- context_id compares as bytes (COLLATE "C"): that is fastest, and an upgrade of the operating system's locale data
-- cannot corrupt the index.
CREATE TABLE messages (
    context_id  text        COLLATE "C" NOT NULL,
    seq         bigint      NOT NULL,
    role        text        NOT NULL,
    parts       jsonb       NOT NULL, -- for queries; message is what the server reads
    metadata    jsonb       NOT NULL,
    token_count integer     NOT NULL,
    inserted_at timestamptz NOT NULL,
    message     bytea       NOT NULL, -- the JSON object byte for byte: convert_from(message, 'UTF8')
    PRIMARY KEY (context_id, seq)
);

CREATE INDEX messages_context_id_inserted_at ON messages (context_id, inserted_at);
