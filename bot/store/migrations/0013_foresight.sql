-- What was predicted of each answer's first word, and when it came, in seconds.

ALTER TABLE speed_record ADD COLUMN predicted_s REAL;
ALTER TABLE speed_record ADD COLUMN waited_s REAL;
