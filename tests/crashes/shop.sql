CREATE TOPIC sales (id BIGINT, shop BIGINT, price BIGINT, ts TIMESTAMP,
                    WATERMARK FOR ts AS ts - INTERVAL '10 seconds');
CREATE TABLE shops (shop BIGINT PRIMARY KEY, city VARCHAR);
CREATE VIEW per_shop AS
    SELECT shop, count(*) AS n, sum(price) AS total FROM sales GROUP BY shop;
CREATE VIEW per_minute WITH (lateness = '1 day') AS
    SELECT shop, window_start, count(*) AS n, sum(price) AS total
    FROM TUMBLE(sales, ts, INTERVAL '1 minute') GROUP BY shop, window_start, window_end
    EMIT FINAL;
CREATE VIEW per_city AS
    SELECT city, count(*) AS n, sum(price) AS total
    FROM sales JOIN shops USING (shop) GROUP BY city;
CREATE SINK lake FROM per_city INTO parquet (path = 'lake/per_city', every = '200 milliseconds');
CREATE SINK store FROM per_shop INTO duckdb (path = 'shop.duckdb', every = '200 milliseconds');
