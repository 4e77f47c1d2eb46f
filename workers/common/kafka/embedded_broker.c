#include "workers/common/kafka/embedded_broker.h"

#include "workers/common/base/auto.h"
#include "workers/common/kafka/kafka_handle.h"
#include "workers/common/kafka/topics.h"

#include <librdkafka/rdkafka_mock.h>
#include <stdlib.h>

enum { PARTITIONS_MAXIMUM = 4 };

struct embedded_broker {
    rd_kafka_t *handle;
    rd_kafka_mock_cluster_t *cluster;
};

bool embedded_broker_open(const struct options *options, struct embedded_broker **ret_broker, struct error *err)
{
    static const struct handle_property none[] = {{NULL, NULL}};
    struct embedded_broker *broker = memory_zeroed(1, sizeof(*broker));
    if (!handle_open(options, RD_KAFKA_PRODUCER, none, NULL, NULL, &broker->handle, err)) {
        free(broker);
        return false;
    }
    broker->cluster = rd_kafka_mock_cluster_new(broker->handle, 1);
    for (const struct topic_settings *topic = topics; topic->name != NULL; topic++) {
        AUTO(text) char *name = kafka_name(options, topic->name);
        int partitions = topic->partitions < PARTITIONS_MAXIMUM ? topic->partitions : PARTITIONS_MAXIMUM;
        (void)rd_kafka_mock_topic_create(broker->cluster, name, partitions, 1);
    }
    *ret_broker = broker;
    return true;
}

void embedded_broker_close(struct embedded_broker *broker)
{
    if (broker != NULL) {
        rd_kafka_mock_cluster_destroy(broker->cluster);
        handle_close(broker->handle, 2000);
        free(broker);
    }
}

const char *embedded_broker_address(const struct embedded_broker *broker)
{
    return rd_kafka_mock_cluster_bootstraps(broker->cluster);
}
