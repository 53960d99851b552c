/*
 * As much JSON as a small driver needs: a check that a text is JSON, members of objects, entries of lists, texts and whole
 * numbers; and a text that grows, to write answers with. Values are places in the text they came from, nothing is copied.
 */
#ifndef CAPSTAN_JSON_H
#define CAPSTAN_JSON_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A value, without space around it. All functions but json_check expect what json_check found right. */
typedef struct json {
    const char *at;
    size_t len;
} json;

#define DEEPEST 64

typedef const char *place;

static inline place skip_space(place p, place end) {
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) {
        p++;
    }
    return p;
}

static inline int hex(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Each of these gives the place after what it is named for, or NULL. */

static inline place after_text(place p, place end) {
    if (p >= end || *p++ != '"') {
        return NULL;
    }
    while (p < end && *p != '"') {
        if ((unsigned char)*p < 0x20) {
            return NULL;
        }
        if (*p++ != '\\') {
            continue;
        }
        if (p >= end || strchr("\"\\/bfnrtu", *p) == NULL || *p == '\0') {
            return NULL;
        }
        if (*p++ == 'u') {
            for (int i = 0; i < 4; i++, p++) {
                if (p >= end || hex(*p) < 0) {
                    return NULL;
                }
            }
        }
    }
    return p < end ? p + 1 : NULL;
}

static inline place after_digits(place p, place end) {
    place begin = p;
    while (p < end && *p >= '0' && *p <= '9') {
        p++;
    }
    return p > begin ? p : NULL;
}

static inline place after_number(place p, place end) {
    if (p < end && *p == '-') {
        p++;
    }
    place begin = p;
    p = after_digits(p, end);
    if (p == NULL || (*begin == '0' && p > begin + 1)) {
        return NULL;
    }
    if (p < end && *p == '.' && (p = after_digits(p + 1, end)) == NULL) {
        return NULL;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-')) {
            p++;
        }
        p = after_digits(p, end);
    }
    return p;
}

static inline place after_word(place p, place end, const char *word) {
    size_t len = strlen(word);
    return (size_t)(end - p) >= len && memcmp(p, word, len) == 0 ? p + len : NULL;
}

static inline place after_value(place p, place end, int depth);

/* The members of an object or the entries of a list, from after the bracket to after its counterpart. */
static inline place after_members(place p, place end, int depth, char close, int named) {
    p = skip_space(p, end);
    if (p < end && *p == close) {
        return p + 1;
    }
    for (;;) {
        if (named) {
            p = after_text(skip_space(p, end), end);
            if (p == NULL || (p = skip_space(p, end)) >= end || *p++ != ':') {
                return NULL;
            }
        }
        p = after_value(skip_space(p, end), end, depth);
        if (p == NULL || (p = skip_space(p, end)) >= end) {
            return NULL;
        }
        if (*p == close) {
            return p + 1;
        }
        if (*p++ != ',') {
            return NULL;
        }
    }
}

static inline place after_value(place p, place end, int depth) {
    if (p >= end || depth > DEEPEST) {
        return NULL;
    }
    switch (*p) {
    case '{':
        return after_members(p + 1, end, depth + 1, '}', 1);
    case '[':
        return after_members(p + 1, end, depth + 1, ']', 0);
    case '"':
        return after_text(p, end);
    case 't':
        return after_word(p, end, "true");
    case 'f':
        return after_word(p, end, "false");
    case 'n':
        return after_word(p, end, "null");
    default:
        return after_number(p, end);
    }
}

/* 1 when all of it is one JSON value, nested at most 64 deep. */
static inline int json_check(json value) {
    if (value.at == NULL) {
        return 0;
    }
    place end = value.at + value.len;
    place after = after_value(skip_space(value.at, end), end, 0);
    return after != NULL && skip_space(after, end) == end;
}

/* The value at a place, which may be followed by more. */
static inline json value_at(place p, place end) {
    p = skip_space(p, end);
    json value = {p, (size_t)(after_value(p, end, 0) - p)};
    return value;
}

/* Takes the first entry off a list: for (json rest = list; json_next(&rest, &entry);). 0 at its end or when it is no list. */
static inline int json_next(json *rest, json *entry) {
    place end = rest->at + rest->len, p = skip_space(rest->at, end);
    if (p >= end || (*p != '[' && *p != ',')) {
        return 0; /* no list, or its closing bracket */
    }
    p = skip_space(p + 1, end);
    if (*p == ']') {
        return 0;
    }
    *entry = value_at(p, end);
    rest->at = skip_space(entry->at + entry->len, end);
    rest->len = (size_t)(end - rest->at);
    return 1;
}

static inline int json_is_text(json value) {
    return value.len >= 2 && *value.at == '"';
}

static inline int json_is_list(json value) {
    return value.len >= 2 && *value.at == '[';
}

static inline int json_is_null(json value) {
    return value.len == 4 && *value.at == 'n';
}

static inline unsigned four(place p) {
    return (unsigned)(hex(p[0]) << 12 | hex(p[1]) << 8 | hex(p[2]) << 4 | hex(p[3]));
}

/* Writes the character at *p in UTF-8 and goes past it. Half a surrogate pair is written as it stands. */
static inline size_t character(place *p, place end, unsigned char out[4]) {
    if (**p != '\\') {
        out[0] = (unsigned char)*(*p)++;
        return 1;
    }
    char c = (*p)[1];
    *p += 2;
    if (c != 'u') {
        static const char escapes[] = "bfnrt", meant[] = "\b\f\n\r\t";
        const char *known = strchr(escapes, c);
        out[0] = (unsigned char)(known != NULL ? meant[known - escapes] : c);
        return 1;
    }
    unsigned long code = four(*p);
    *p += 4;
    if (code >= 0xD800 && code < 0xDC00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
        unsigned long low = four(*p + 2);
        if (low >= 0xDC00 && low < 0xE000) {
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
            *p += 6;
        }
    }
    if (code < 0x80) {
        out[0] = (unsigned char)code;
        return 1;
    }
    size_t more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    out[0] = (unsigned char)((more == 1 ? 0xC0 : more == 2 ? 0xE0 : 0xF0) | code >> (6 * more));
    for (size_t i = 1; i <= more; i++) {
        out[i] = (unsigned char)(0x80 | ((code >> (6 * (more - i))) & 0x3F));
    }
    return more + 1;
}

/* 1 when a text value is exactly this; `plain` needs no escapes in JSON. */
static inline int json_text_is(json value, const char *plain) {
    size_t len = strlen(plain);
    json other = {plain, len};
    if (!json_is_text(value)) {
        return 0;
    }
    place p = value.at + 1, end = value.at + value.len - 1;
    size_t done = 0;
    while (p < end) {
        unsigned char bytes[4];
        size_t n = character(&p, end, bytes);
        if (done + n > other.len || memcmp(other.at + done, bytes, n) != 0) {
            return 0;
        }
        done += n;
    }
    return done == other.len;
}

/* Finds a member of an object; the first of several. 0 when there is none or `object` is no object. */
static inline int json_member(json object, const char *name, json *found) {
    place end = object.at + object.len, p = skip_space(object.at, end);
    if (p >= end || *p != '{') {
        return 0;
    }
    for (p = skip_space(p + 1, end); *p != '}';) {
        json key = value_at(p, end);
        p = skip_space(key.at + key.len, end) + 1; /* the colon */
        json value = value_at(p, end);
        if (json_text_is(key, name)) {
            *found = value;
            return 1;
        }
        p = skip_space(value.at + value.len, end);
        if (*p == ',') {
            p = skip_space(p + 1, end);
        }
    }
    return 0;
}

/* 1 when both are the same text, however it is escaped. */
static inline int json_same_text(json one, json other) {
    if (!json_is_text(one) || !json_is_text(other)) {
        return 0;
    }
    place p = one.at + 1, p_end = one.at + one.len - 1, q = other.at + 1, q_end = other.at + other.len - 1;
    unsigned char a[4], b[4];
    size_t a_len = 0, b_len = 0, i = 0, j = 0;
    for (;;) {
        if (i == a_len) {
            i = 0;
            a_len = p < p_end ? character(&p, p_end, a) : 0;
        }
        if (j == b_len) {
            j = 0;
            b_len = q < q_end ? character(&q, q_end, b) : 0;
        }
        if (a_len == 0 || b_len == 0) {
            return a_len == b_len;
        }
        if (a[i++] != b[j++]) {
            return 0;
        }
    }
}

/* A whole number from 0 up to 2^64 - 1. */
static inline int json_number(json value, uint64_t *number) {
    uint64_t sum = 0;
    if (value.len == 0) {
        return 0;
    }
    for (size_t i = 0; i < value.len; i++) {
        char c = value.at[i];
        if (c < '0' || c > '9' || sum > (UINT64_MAX - (uint64_t)(c - '0')) / 10) {
            return 0;
        }
        sum = sum * 10 + (uint64_t)(c - '0');
    }
    *number = sum;
    return 1;
}

/* A text that grows. Once memory ran out it stays failed and text_take gives NULL. */
typedef struct text {
    char *bytes;
    size_t len, room;
    int failed;
} text;

static inline void text_add_bytes(text *out, const char *bytes, size_t len) {
    if (out->failed || len == 0) {
        return;
    }
    if (out->room - out->len < len) {
        size_t room = (out->room + len) * 2;
        char *grown = realloc(out->bytes, room);
        if (grown == NULL) {
            out->failed = 1;
            return;
        }
        out->bytes = grown;
        out->room = room;
    }
    memcpy(out->bytes + out->len, bytes, len);
    out->len += len;
}

static inline void text_add(text *out, const char *plain) {
    text_add_bytes(out, plain, strlen(plain));
}

static inline void text_add_json(text *out, json value) {
    text_add_bytes(out, value.at, value.len);
}

static inline void text_add_number(text *out, uint64_t number) {
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)number);
    text_add_bytes(out, digits, (size_t)len);
}

/* Hands the bytes over, to be freed with free(). */
static inline char *text_take(text *out, size_t *len) {
    char *bytes = out->bytes;
    *len = out->len;
    if (out->failed) {
        free(bytes);
        bytes = NULL;
    }
    memset(out, 0, sizeof *out);
    return bytes;
}

#endif
