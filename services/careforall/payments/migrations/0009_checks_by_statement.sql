-- Foreign keys are checked row by row: six look-ups with a row lock each for a payment that the transaction holds anyway, and for the
-- ledger entry that the same statement has just made. The same is checked here once a statement (decision 0018), by scalar subqueries:
-- they stay look-ups by key, whatever a plan kept from when the tables were small would rather do. Refunds and disputes, which are few,
-- keep their foreign keys.

CREATE FUNCTION check_named_payments() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM made WHERE (SELECT true FROM payment_intents WHERE id = made.payment_id) IS NULL) THEN
        RAISE EXCEPTION 'a row of % names a payment that is not there', tg_table_name USING ERRCODE = '23503';
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION check_named_intents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM made WHERE (SELECT true FROM payment_intents WHERE id = made.intent_id) IS NULL) THEN
        RAISE EXCEPTION 'a row of % names a payment that is not there', tg_table_name USING ERRCODE = '23503';
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION check_named_entries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM made WHERE (SELECT true FROM ledger_entries WHERE id = made.entry_id) IS NULL) THEN
        RAISE EXCEPTION 'a line names a ledger entry that is not there' USING ERRCODE = '23503';
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION refuse_loss() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are kept under their names: others belong to them', tg_table_name USING ERRCODE = '23503';
END
$$;
CREATE TRIGGER payment_transitions_names AFTER INSERT ON payment_transitions REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION check_named_payments();
CREATE TRIGGER ledger_entries_names AFTER INSERT ON ledger_entries REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION check_named_payments();
CREATE TRIGGER payment_attempts_names AFTER INSERT ON payment_attempts REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION check_named_intents();
CREATE TRIGGER ledger_lines_names AFTER INSERT ON ledger_lines REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION check_named_entries();
CREATE TRIGGER payment_attempts_keep_names BEFORE UPDATE OF intent_id ON payment_attempts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_loss();
CREATE TRIGGER payment_intents_stay BEFORE DELETE OR TRUNCATE OR UPDATE OF id ON payment_intents
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_loss();
ALTER TABLE payment_transitions DROP CONSTRAINT payment_transitions_payment_id_fkey;
ALTER TABLE payment_attempts DROP CONSTRAINT payment_attempts_intent_id_fkey;
ALTER TABLE ledger_entries DROP CONSTRAINT ledger_entries_payment_id_fkey;
ALTER TABLE ledger_lines DROP CONSTRAINT ledger_lines_entry_id_fkey;
