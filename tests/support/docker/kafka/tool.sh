#!/bin/bash
# One script under the names of all tools that are there.
heap=-Xmx256M
tools=org.apache.kafka.tools
name=$(basename "$0" .sh)
case $name in
kafka-topics) class=$tools.TopicCommand ;;
kafka-consumer-groups) class=$tools.consumer.group.ConsumerGroupCommand ;;
kafka-broker-api-versions) class=$tools.BrokerApiVersionsCommand ;;
kafka-get-offsets) class=$tools.GetOffsetShell ;;
kafka-server-start) class=kafka.Kafka heap=-Xmx1G ;;
kafka-run-class) class=$1; shift ;;
*) echo "$name: not in this image" >&2; exit 127 ;;
esac
# shellcheck disable=SC2086  # options are words
exec java ${KAFKA_HEAP_OPTS:-$heap} -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn $KAFKA_OPTS \
  -cp '/opt/kafka/libs/*' "$class" "$@"
