-- attach: swf doma_panda
-- The tables the built-in catalogue reads, in SQL that both SQLite and PostgreSQL take. In production they exist already:
-- this script is for the embedded database and trials. A word between two at-signs is the dialect's own numbered key.

CREATE TABLE swf_systemagent (
    id @serial@,
    instance_name TEXT UNIQUE NOT NULL,
    agent_type TEXT NOT NULL,
    description TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'UNKNOWN',
    last_heartbeat TIMESTAMPTZ,
    agent_url TEXT,
    workflow_enabled BOOLEAN NOT NULL DEFAULT TRUE,
    current_stf_count INTEGER NOT NULL DEFAULT 0,
    total_stf_processed INTEGER NOT NULL DEFAULT 0,
    last_stf_processed TIMESTAMPTZ,
    pid INTEGER,
    hostname TEXT,
    operational_state TEXT NOT NULL DEFAULT 'STARTING',
    namespace TEXT,
    metadata JSONB,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE swf_applog (
    id @serial@,
    app_name TEXT NOT NULL,
    instance_name TEXT NOT NULL,
    timestamp TIMESTAMPTZ NOT NULL,
    level INTEGER NOT NULL DEFAULT 0,
    levelname TEXT NOT NULL,
    message TEXT NOT NULL,
    module TEXT NOT NULL,
    funcname TEXT NOT NULL,
    lineno INTEGER NOT NULL,
    process INTEGER NOT NULL,
    thread BIGINT NOT NULL,
    extra_data JSONB
);

CREATE TABLE swf_runs (
    run_id @serial@,
    run_number INTEGER UNIQUE NOT NULL,
    start_time TIMESTAMPTZ NOT NULL,
    end_time TIMESTAMPTZ,
    run_conditions JSONB
);

CREATE TABLE swf_stf_files (
    file_id UUID PRIMARY KEY,
    run_id BIGINT NOT NULL,
    machine_state TEXT NOT NULL DEFAULT 'physics',
    stf_filename TEXT UNIQUE NOT NULL,
    file_size_bytes BIGINT,
    checksum TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    status TEXT NOT NULL DEFAULT 'registered',
    metadata JSONB,
    workflow_id UUID,
    daq_state TEXT,
    daq_substate TEXT,
    workflow_status TEXT,
    tf_count INTEGER
);

CREATE TABLE swf_subscribers (
    subscriber_id @serial@,
    subscriber_name TEXT UNIQUE NOT NULL,
    fraction DOUBLE PRECISION,
    description TEXT,
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    delivery_type TEXT NOT NULL DEFAULT 'activemq',
    client_ip TEXT,
    client_location TEXT NOT NULL DEFAULT '',
    connected_at TIMESTAMPTZ,
    disconnected_at TIMESTAMPTZ,
    last_activity TIMESTAMPTZ,
    message_filters JSONB NOT NULL DEFAULT '{}',
    messages_received INTEGER NOT NULL DEFAULT 0,
    messages_sent INTEGER NOT NULL DEFAULT 0,
    messages_dropped INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE swf_fastmon_files (
    tf_file_id UUID PRIMARY KEY,
    stf_file_id UUID NOT NULL,
    tf_filename TEXT UNIQUE NOT NULL,
    file_size_bytes BIGINT,
    checksum TEXT,
    status TEXT NOT NULL DEFAULT 'registered',
    metadata JSONB,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    tf_count INTEGER,
    tf_first INTEGER,
    tf_last INTEGER
);

CREATE TABLE swf_tf_slices (
    id @serial@,
    slice_id INTEGER NOT NULL,
    tf_first INTEGER NOT NULL,
    tf_last INTEGER NOT NULL,
    tf_count INTEGER NOT NULL,
    tf_filename TEXT NOT NULL,
    stf_filename TEXT NOT NULL,
    run_number INTEGER NOT NULL,
    status TEXT NOT NULL DEFAULT 'queued',
    retries INTEGER NOT NULL DEFAULT 0,
    metadata JSONB,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    assigned_worker TEXT,
    assigned_at TIMESTAMPTZ,
    completed_at TIMESTAMPTZ,
    UNIQUE (tf_filename, slice_id)
);

CREATE TABLE swf_workers (
    worker_id TEXT PRIMARY KEY,
    run_number INTEGER NOT NULL,
    panda_job TEXT NOT NULL,
    location TEXT NOT NULL,
    status TEXT NOT NULL,
    current_slice_id INTEGER,
    tf_filename TEXT,
    slices_completed INTEGER NOT NULL DEFAULT 0,
    last_heartbeat TIMESTAMPTZ,
    started_at TIMESTAMPTZ NOT NULL,
    ended_at TIMESTAMPTZ,
    metadata JSONB
);

CREATE TABLE swf_run_state (
    run_number INTEGER PRIMARY KEY,
    phase TEXT NOT NULL,
    state TEXT NOT NULL,
    substate TEXT,
    target_worker_count INTEGER NOT NULL,
    active_worker_count INTEGER NOT NULL DEFAULT 0,
    stf_samples_received INTEGER NOT NULL DEFAULT 0,
    slices_created INTEGER NOT NULL DEFAULT 0,
    slices_queued INTEGER NOT NULL DEFAULT 0,
    slices_processing INTEGER NOT NULL DEFAULT 0,
    slices_completed INTEGER NOT NULL DEFAULT 0,
    slices_failed INTEGER NOT NULL DEFAULT 0,
    state_changed_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    metadata JSONB
);

CREATE TABLE swf_system_state_events (
    event_id @serial@,
    timestamp TIMESTAMPTZ NOT NULL,
    run_number INTEGER NOT NULL,
    event_type TEXT NOT NULL,
    state TEXT NOT NULL,
    substate TEXT,
    event_data JSONB NOT NULL
);

CREATE TABLE swf_persistent_state (
    id @serial@,
    state_data JSONB NOT NULL DEFAULT '{}',
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE swf_panda_queues (
    queue_name TEXT PRIMARY KEY,
    site TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'active',
    queue_type TEXT NOT NULL,
    config_data JSONB NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE swf_rucio_endpoints (
    endpoint_name TEXT PRIMARY KEY,
    site TEXT NOT NULL,
    endpoint_type TEXT NOT NULL,
    is_tape BOOLEAN NOT NULL DEFAULT FALSE,
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    config_data JSONB NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE swf_ai_memory (
    id @serial@,
    username TEXT NOT NULL,
    session_id TEXT NOT NULL,
    role TEXT NOT NULL,
    content TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    namespace TEXT,
    project_path TEXT
);

CREATE TABLE swf_data_provenance (
    id @serial@,
    dpid TEXT UNIQUE NOT NULL,
    tool_name TEXT NOT NULL,
    tool_args JSONB NOT NULL DEFAULT '{}',
    created_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE swf_stf_workflows (
    workflow_id UUID PRIMARY KEY,
    filename TEXT UNIQUE NOT NULL,
    file_id UUID,
    namespace TEXT,
    execution_id TEXT,
    run_id TEXT,
    daq_state TEXT NOT NULL,
    daq_substate TEXT NOT NULL,
    generated_time TIMESTAMPTZ NOT NULL,
    stf_start_time TIMESTAMPTZ NOT NULL,
    stf_end_time TIMESTAMPTZ NOT NULL,
    current_status TEXT NOT NULL DEFAULT 'generated',
    current_agent TEXT NOT NULL DEFAULT 'daqsim',
    completed_at TIMESTAMPTZ,
    failed_at TIMESTAMPTZ,
    failure_reason TEXT,
    stf_metadata JSONB,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE swf_agent_workflow_stages (
    stage_id UUID PRIMARY KEY,
    workflow_id UUID NOT NULL,
    agent_name TEXT NOT NULL,
    agent_type TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'generated',
    received_at TIMESTAMPTZ,
    started_at TIMESTAMPTZ,
    completed_at TIMESTAMPTZ,
    failed_at TIMESTAMPTZ,
    processing_time_seconds DOUBLE PRECISION,
    failure_reason TEXT,
    input_message JSONB,
    output_message JSONB,
    stage_metadata JSONB,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE swf_workflow_messages (
    message_id UUID PRIMARY KEY,
    workflow_id UUID,
    stage_id UUID,
    message_type TEXT NOT NULL,
    request_id INTEGER,
    sender_agent TEXT,
    sender_type TEXT,
    recipient_agent TEXT,
    recipient_type TEXT,
    namespace TEXT,
    execution_id TEXT,
    run_id TEXT,
    message_content JSONB NOT NULL,
    message_metadata JSONB DEFAULT '{}',
    sent_at TIMESTAMPTZ NOT NULL,
    delivered_at TIMESTAMPTZ,
    acknowledged_at TIMESTAMPTZ,
    is_successful BOOLEAN,
    error_message TEXT,
    queue_name TEXT,
    correlation_id TEXT
);

CREATE TABLE swf_workflow_definitions (
    id @serial@,
    workflow_name TEXT NOT NULL,
    version TEXT NOT NULL,
    workflow_type TEXT NOT NULL,
    definition TEXT NOT NULL,
    parameter_values JSONB NOT NULL DEFAULT '{}',
    created_by TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    UNIQUE (workflow_name, version)
);

CREATE TABLE swf_workflow_executions (
    execution_id TEXT PRIMARY KEY,
    workflow_definition_id BIGINT NOT NULL,
    namespace TEXT,
    parameter_values JSONB NOT NULL,
    performance_metrics JSONB,
    status TEXT NOT NULL DEFAULT 'pending',
    start_time TIMESTAMPTZ NOT NULL,
    end_time TIMESTAMPTZ,
    executed_by TEXT NOT NULL
);

CREATE TABLE swf_namespace (
    name TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    description TEXT NOT NULL,
    metadata JSONB,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE pcs_physics_category (
    digit INTEGER PRIMARY KEY,
    name TEXT UNIQUE NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    created_by TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE pcs_physics_tag (
    id @serial@,
    tag_number INTEGER UNIQUE NOT NULL,
    tag_label TEXT UNIQUE NOT NULL,
    category_id INTEGER NOT NULL,
    status TEXT NOT NULL DEFAULT 'draft',
    description TEXT NOT NULL DEFAULT '',
    parameters JSONB NOT NULL DEFAULT '{}',
    created_by TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE pcs_evgen_tag (
    id @serial@,
    tag_number INTEGER UNIQUE NOT NULL,
    tag_label TEXT UNIQUE NOT NULL,
    status TEXT NOT NULL DEFAULT 'draft',
    description TEXT NOT NULL DEFAULT '',
    parameters JSONB NOT NULL DEFAULT '{}',
    created_by TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE pcs_simu_tag (
    id @serial@,
    tag_number INTEGER UNIQUE NOT NULL,
    tag_label TEXT UNIQUE NOT NULL,
    status TEXT NOT NULL DEFAULT 'draft',
    description TEXT NOT NULL DEFAULT '',
    parameters JSONB NOT NULL DEFAULT '{}',
    created_by TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE pcs_reco_tag (
    id @serial@,
    tag_number INTEGER UNIQUE NOT NULL,
    tag_label TEXT UNIQUE NOT NULL,
    status TEXT NOT NULL DEFAULT 'draft',
    description TEXT NOT NULL DEFAULT '',
    parameters JSONB NOT NULL DEFAULT '{}',
    created_by TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE pcs_dataset (
    id @serial@,
    dataset_name TEXT NOT NULL,
    scope TEXT NOT NULL DEFAULT 'group.EIC',
    detector_version TEXT NOT NULL,
    detector_config TEXT NOT NULL,
    physics_tag_id BIGINT NOT NULL,
    evgen_tag_id BIGINT NOT NULL,
    simu_tag_id BIGINT NOT NULL,
    reco_tag_id BIGINT NOT NULL,
    block_num INTEGER NOT NULL DEFAULT 1,
    blocks INTEGER NOT NULL DEFAULT 1,
    did TEXT UNIQUE NOT NULL,
    file_count INTEGER NOT NULL DEFAULT 0,
    data_size BIGINT NOT NULL DEFAULT 0,
    description TEXT NOT NULL DEFAULT '',
    metadata JSONB,
    created_by TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    UNIQUE (dataset_name, block_num)
);

CREATE TABLE pcs_prod_config (
    id @serial@,
    name TEXT UNIQUE NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    bg_mixing BOOLEAN NOT NULL DEFAULT FALSE,
    bg_cross_section TEXT NOT NULL DEFAULT '',
    bg_evtgen_file TEXT NOT NULL DEFAULT '',
    copy_reco BOOLEAN NOT NULL DEFAULT TRUE,
    copy_full BOOLEAN NOT NULL DEFAULT FALSE,
    copy_log BOOLEAN NOT NULL DEFAULT TRUE,
    use_rucio BOOLEAN NOT NULL DEFAULT TRUE,
    jug_xl_tag TEXT NOT NULL DEFAULT '',
    container_image TEXT NOT NULL DEFAULT '',
    target_hours_per_job NUMERIC,
    events_per_task INTEGER,
    condor_template TEXT NOT NULL DEFAULT '',
    panda_site TEXT NOT NULL DEFAULT '',
    panda_queue TEXT NOT NULL DEFAULT '',
    panda_working_group TEXT NOT NULL DEFAULT '',
    panda_resource_type TEXT NOT NULL DEFAULT '',
    rucio_rse TEXT NOT NULL DEFAULT '',
    rucio_replication_rules JSONB,
    data JSONB,
    created_by TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE pcs_prod_task (
    id @serial@,
    name TEXT UNIQUE NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL DEFAULT 'draft',
    dataset_id BIGINT NOT NULL,
    prod_config_id BIGINT NOT NULL,
    csv_file TEXT NOT NULL DEFAULT '',
    overrides JSONB,
    condor_command TEXT NOT NULL DEFAULT '',
    panda_command TEXT NOT NULL DEFAULT '',
    panda_task_id BIGINT,
    condor_cluster_id TEXT NOT NULL DEFAULT '',
    created_by TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE INDEX swf_applog_timestamp ON swf_applog (timestamp);
CREATE INDEX swf_applog_app_name_instance_name ON swf_applog (app_name, instance_name);
CREATE INDEX swf_stf_files_run_id ON swf_stf_files (run_id);
CREATE INDEX swf_tf_slices_run_number ON swf_tf_slices (run_number);
CREATE INDEX swf_workflow_messages_execution_id ON swf_workflow_messages (execution_id);
CREATE INDEX swf_workflow_messages_sent_at ON swf_workflow_messages (sent_at);
CREATE INDEX swf_workflow_executions_start_time ON swf_workflow_executions (start_time);
CREATE INDEX swf_ai_memory_username_created_at ON swf_ai_memory (username, created_at);

-- PanDA: another system's tables, with times that have no offset (they are UTC).

CREATE TABLE doma_panda.jobsactive4 (
    pandaid BIGINT PRIMARY KEY,
    jeditaskid BIGINT,
    reqid BIGINT,
    jobname TEXT,
    produsername TEXT,
    jobstatus TEXT,
    computingsite TEXT,
    computingelement TEXT,
    transformation TEXT,
    processingtype TEXT,
    creationtime TIMESTAMP,
    starttime TIMESTAMP,
    endtime TIMESTAMP,
    modificationtime TIMESTAMP,
    corecount INTEGER,
    actualcorecount INTEGER,
    nevents BIGINT,
    maxrss INTEGER,
    maxpss INTEGER,
    maxvmem INTEGER,
    maxswap INTEGER,
    maxwalltime INTEGER,
    cpuconsumptiontime INTEGER,
    cpuconsumptionunit TEXT,
    inputfilebytes BIGINT,
    ninputfiles INTEGER,
    ninputdatafiles INTEGER,
    outputfilebytes BIGINT,
    noutputdatafiles INTEGER,
    destinationdblock TEXT,
    destinationse TEXT,
    pilotid TEXT,
    pilottiming TEXT,
    batchid TEXT,
    container_name TEXT,
    specialhandling TEXT,
    commandtopilot TEXT,
    brokerageerrorcode INTEGER,
    brokerageerrordiag TEXT,
    ddmerrorcode INTEGER,
    ddmerrordiag TEXT,
    exeerrorcode INTEGER,
    exeerrordiag TEXT,
    jobdispatchererrorcode INTEGER,
    jobdispatchererrordiag TEXT,
    piloterrorcode INTEGER,
    piloterrordiag TEXT,
    superrorcode INTEGER,
    superrordiag TEXT,
    taskbuffererrorcode INTEGER,
    taskbuffererrordiag TEXT,
    transexitcode TEXT,
    jobmetrics TEXT,
    metadata TEXT,
    workinggroup TEXT
);

CREATE TABLE doma_panda.jobsarchived4 (
    pandaid BIGINT PRIMARY KEY,
    jeditaskid BIGINT,
    reqid BIGINT,
    jobname TEXT,
    produsername TEXT,
    jobstatus TEXT,
    computingsite TEXT,
    computingelement TEXT,
    transformation TEXT,
    processingtype TEXT,
    creationtime TIMESTAMP,
    starttime TIMESTAMP,
    endtime TIMESTAMP,
    modificationtime TIMESTAMP,
    corecount INTEGER,
    actualcorecount INTEGER,
    nevents BIGINT,
    maxrss INTEGER,
    maxpss INTEGER,
    maxvmem INTEGER,
    maxswap INTEGER,
    maxwalltime INTEGER,
    cpuconsumptiontime INTEGER,
    cpuconsumptionunit TEXT,
    inputfilebytes BIGINT,
    ninputfiles INTEGER,
    ninputdatafiles INTEGER,
    outputfilebytes BIGINT,
    noutputdatafiles INTEGER,
    destinationdblock TEXT,
    destinationse TEXT,
    pilotid TEXT,
    pilottiming TEXT,
    batchid TEXT,
    container_name TEXT,
    specialhandling TEXT,
    commandtopilot TEXT,
    brokerageerrorcode INTEGER,
    brokerageerrordiag TEXT,
    ddmerrorcode INTEGER,
    ddmerrordiag TEXT,
    exeerrorcode INTEGER,
    exeerrordiag TEXT,
    jobdispatchererrorcode INTEGER,
    jobdispatchererrordiag TEXT,
    piloterrorcode INTEGER,
    piloterrordiag TEXT,
    superrorcode INTEGER,
    superrordiag TEXT,
    taskbuffererrorcode INTEGER,
    taskbuffererrordiag TEXT,
    transexitcode TEXT,
    jobmetrics TEXT,
    metadata TEXT,
    workinggroup TEXT
);

CREATE TABLE doma_panda.filestable4 (
    pandaid BIGINT,
    jeditaskid BIGINT,
    lfn TEXT,
    type TEXT,
    guid TEXT,
    scope TEXT,
    fsize BIGINT,
    status TEXT,
    dataset TEXT,
    destinationdblock TEXT,
    checksum TEXT,
    destinationse TEXT
);

CREATE TABLE doma_panda.jedi_tasks (
    jeditaskid BIGINT PRIMARY KEY,
    taskname TEXT,
    status TEXT,
    username TEXT,
    creationdate TIMESTAMP,
    starttime TIMESTAMP,
    endtime TIMESTAMP,
    modificationtime TIMESTAMP,
    reqid BIGINT,
    processingtype TEXT,
    transpath TEXT,
    progress DOUBLE PRECISION,
    failurerate DOUBLE PRECISION,
    errordialog TEXT,
    site TEXT,
    corecount INTEGER,
    taskpriority INTEGER,
    currentpriority INTEGER,
    gshare TEXT,
    attemptnr INTEGER,
    parent_tid BIGINT,
    workinggroup TEXT
);

CREATE TABLE doma_panda.schedconfig_json (
    panda_queue TEXT PRIMARY KEY,
    data JSONB NOT NULL,
    last_update TIMESTAMP
);

CREATE TABLE doma_panda.harvester_workers (
    harvesterid TEXT,
    workerid BIGINT,
    lastupdate TIMESTAMP,
    status TEXT,
    batchid TEXT,
    computingsite TEXT,
    computingelement TEXT,
    submittime TIMESTAMP,
    starttime TIMESTAMP,
    endtime TIMESTAMP,
    ncore INTEGER,
    njobs INTEGER,
    errorcode INTEGER,
    nativestatus TEXT,
    diagmessage TEXT
);

CREATE TABLE doma_panda.harvester_rel_jobs_workers (
    harvesterid TEXT,
    workerid BIGINT,
    pandaid BIGINT,
    lastupdate TIMESTAMP
);
