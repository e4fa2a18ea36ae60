package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// recordChecks reads the records of each bucket as the rest of the package does.
var recordChecks = map[string]func(key, value []byte) error{
	string(bucketMeta):             checkMeta,
	string(bucketAdmin):            reads[Admin],
	string(bucketSessions):         hashed(reads[Session]),
	string(bucketTokens):           hashed(reads[Token]),
	string(bucketBindTokens):       hashed(reads[bindToken]),
	string(bucketOpenTokens):       isText,
	string(bucketConfigs):          reads[Config],
	string(bucketConfigNames):      isText,
	string(bucketNodes):            reads[Node],
	string(bucketNodeNames):        isText,
	string(bucketCredentials):      reads[credential],
	string(bucketEvidence):         reads[Evidence],
	string(bucketJournal):          counted(reads[JournalEntry]),
	string(bucketTransitions):      counted(reads[Transition]),
	string(bucketCommands):         reads[Command],
	string(bucketCommandsByNode):   counted(isText),
	string(bucketCommandsOpen):     counted(isText),
	string(bucketOutput):           counted(reads[Output]),
	string(bucketConfStates):       reads[ConfState],
	string(bucketConfVersions):     counted(reads[ConfVersion]),
	string(bucketConfTexts):        checkConfText,
	string(bucketRollouts):         reads[Rollout],
	string(bucketRolloutsByConfig): counted(isText),
	string(bucketRolloutNodes):     counted(reads[RolloutNode]),
	string(bucketFiles):            reads[File],
	string(bucketSettings):         reads[any],
	string(bucketAccounts):         reads[Account],
	string(bucketSecrets):          isText,
	string(bucketWanted):           reads[Wanted],
	string(bucketInterfaces):       isText,
	string(bucketTags):             isText,
	string(bucketLinks):            reads[Link],
	string(bucketLinksByConfig):    isText,
	string(bucketLinksByNode):      isText,
	string(bucketForwards):         reads[PortForward],
	string(bucketForwardsByConfig): isText,
	string(bucketForwardsByNode):   isText,
	string(bucketAddresses):        isText,
	string(bucketPublicKeys):       isText,
	string(bucketNodeTraits):       isText,
	string(bucketAuditOpen):        reads[AuditEntry],
	string(bucketAudit):            checkAuditLine,
}

// checkRecord reads one record. Its error names the bucket and the fault, but neither the record's
// content nor its key, which may be secrets.
func checkRecord(bucket string, key, value []byte) error {
	check := recordChecks[bucket]
	if check == nil {
		return nil
	}
	if err := check(key, value); err != nil {
		return fmt.Errorf("a record of %s cannot be read: %w", bucket, err)
	}
	return nil
}

var (
	errRecordEmpty = errors.New("it is empty")
	errRecordJSON  = errors.New("it is not valid JSON of that record")
	errRecordKey   = errors.New("its key is not valid")
)

func reads[T any](_, value []byte) error {
	var v T
	if err := json.Unmarshal(value, &v); err != nil {
		return errRecordJSON // the decoder's error quotes the content
	}
	return nil
}

func isText(_, value []byte) error {
	if len(value) == 0 {
		return errRecordEmpty
	}
	return nil
}

// hashed checks records whose key is the hex SHA-256 of a secret.
func hashed(check func(key, value []byte) error) func(key, value []byte) error {
	return func(key, value []byte) error {
		if len(key) != len(hashToken("")) {
			return errRecordKey
		}
		return check(key, value)
	}
}

// counted checks records whose key is a seqKey.
func counted(check func(key, value []byte) error) func(key, value []byte) error {
	return func(key, value []byte) error {
		if len(key) < 10 || key[len(key)-9] != 0 {
			return errRecordKey
		}
		return check(key, value)
	}
}

func checkMeta(key, value []byte) error {
	switch string(key) {
	case string(keySchema):
		if len(value) != 8 {
			return errRecordJSON
		}
	case string(keyAlive):
		if new(time.Time).UnmarshalBinary(value) != nil {
			return errRecordJSON
		}
	case string(keyGaps):
		return reads[[]Gap](key, value)
	}
	return nil
}

func checkConfText(key, value []byte) error {
	_, sum, ok := strings.Cut(string(key), "\x00")
	if !ok || hashToken(string(value)) != sum {
		return errRecordJSON
	}
	return nil
}

func checkAuditLine(key, value []byte) error {
	e, err := readAudit(value)
	switch {
	case err != nil:
		return errRecordJSON
	case len(key) != 8 || binary.BigEndian.Uint64(key) != e.Seq:
		return errRecordKey
	}
	return nil
}
