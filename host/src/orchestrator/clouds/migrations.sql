CREATE TABLE clouds_user_data (
    job TEXT PRIMARY KEY,
    text TEXT NOT NULL
);
