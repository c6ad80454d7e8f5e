-- Foreign keys are checked row by row: a look-up and a row lock each, for the holder that the same statement has just made and for the
-- one stock row that everybody wants. The same is checked here once a statement. By scalar subqueries: they stay look-ups by key,
-- whatever a plan kept from when the tables were small would rather do.

CREATE FUNCTION check_what_reservations_name() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM made WHERE (SELECT true FROM holders WHERE holders.id = made.holder_id) IS NULL
    ) OR EXISTS (
        SELECT FROM (SELECT DISTINCT sku, warehouse FROM made) AS named
        WHERE (SELECT true FROM stock WHERE stock.sku = named.sku AND stock.warehouse = named.warehouse) IS NULL
    ) THEN
        RAISE EXCEPTION 'a reservation names a holder or stock that is not there' USING ERRCODE = '23503';
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION refuse_loss() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are kept under their names: reservations tie them together', tg_table_name USING ERRCODE = '23503';
END
$$;
CREATE TRIGGER reservations_names AFTER INSERT ON reservations REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION check_what_reservations_name();
CREATE TRIGGER reservations_keep_names BEFORE UPDATE OF holder_id, sku, warehouse ON reservations
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_loss();
CREATE TRIGGER holders_stay BEFORE DELETE OR TRUNCATE OR UPDATE OF id ON holders
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_loss();
CREATE TRIGGER stock_stays BEFORE DELETE OR TRUNCATE OR UPDATE OF sku, warehouse ON stock
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_loss();
ALTER TABLE reservations
    DROP CONSTRAINT reservations_holder_id_fkey,
    DROP CONSTRAINT reservations_sku_warehouse_fkey;
