"""What each campaign spends, minute by minute. Run it: headwater run examples/clicks.py."""

import headwater as hw

app = hw.App("adtech")

app.topic("clicks", "ad BIGINT, visitor VARCHAR, cost DECIMAL(12, 6), ts TIMESTAMP",
          event_time="ts", delay="30 seconds")
app.table("campaigns", "ad BIGINT, campaign VARCHAR", key="ad")

app.view("spend", """
    SELECT campaign, window_start, count(*) AS clicks, sum(cost) AS spend
    FROM TUMBLE(clicks, ts, INTERVAL '1 minute') JOIN campaigns USING (ad)
    GROUP BY campaign, window_start, window_end
""", emit="final", lateness="1 hour")

if __name__ == "__main__":
    app.run()
