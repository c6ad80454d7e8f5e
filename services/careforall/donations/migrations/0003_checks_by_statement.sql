-- Foreign keys are checked row by row: a look-up and a row lock for each gift, on the campaign that its batch holds anyway and on the
-- gift that the same statement has just made. The same is checked here once a statement (decision 0018). By scalar subqueries: they
-- stay look-ups by key, whatever a plan kept from when the tables were small would rather do.

CREATE FUNCTION check_named_campaigns() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM (SELECT DISTINCT campaign_id FROM made) AS named
        WHERE (SELECT true FROM campaigns WHERE id = named.campaign_id) IS NULL
    ) THEN
        RAISE EXCEPTION 'a donation names a campaign that is not there' USING ERRCODE = '23503';
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION check_named_donations() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM made WHERE (SELECT true FROM donations WHERE id = made.donation_id) IS NULL) THEN
        RAISE EXCEPTION 'a step names a donation that is not there' USING ERRCODE = '23503';
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION refuse_loss() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are kept under their names: others belong to them', tg_table_name USING ERRCODE = '23503';
END
$$;
CREATE TRIGGER donations_names AFTER INSERT ON donations REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION check_named_campaigns();
CREATE TRIGGER donation_history_names AFTER INSERT ON donation_history REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION check_named_donations();
CREATE TRIGGER donations_stay BEFORE DELETE OR TRUNCATE OR UPDATE OF id, campaign_id ON donations
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_loss();
CREATE TRIGGER campaigns_stay BEFORE DELETE OR TRUNCATE OR UPDATE OF id ON campaigns
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_loss();
ALTER TABLE donations DROP CONSTRAINT donations_campaign_id_fkey;
ALTER TABLE donation_history DROP CONSTRAINT donation_history_donation_id_fkey;
