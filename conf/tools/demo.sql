-- A small data set for the embedded database and for trials: one testbed on an ordinary day.
-- Moments are written as their distance from now between two at-signs, such as minus 90 m (minutes).

INSERT INTO swf_namespace
    (name, owner, description, metadata, created_at, updated_at)
VALUES
    ('epic-fastmon', 'mwang', 'Fast monitoring of the streaming testbed.', '{"team": "DAQ"}', '@-60d@', '@-2d@'),
    ('torre1', 'torre', 'Development of the workflow agents.', NULL, '@-90d@', '@-5d@');

INSERT INTO swf_systemagent
    (instance_name, agent_type, description, status, last_heartbeat, agent_url, workflow_enabled, current_stf_count, total_stf_processed, last_stf_processed, pid, hostname, operational_state, namespace, metadata, created_at, updated_at)
VALUES
    ('daq-simulator-torre1-01', 'daqsim', 'Simulates the DAQ: runs, states and super time frames.', 'OK', '@-12s@', NULL, TRUE, 0, 412, '@-3m@', 21044, 'swf-node01', 'PROCESSING', 'torre1', '{"version": "1.8.2"}', '@-30d@', '@-12s@'),
    ('data-agent-torre1-01', 'data', 'Registers super time frames and moves them.', 'OK', '@-20s@', NULL, TRUE, 2, 409, '@-2m@', 21051, 'swf-node01', 'PROCESSING', 'torre1', '{"version": "1.8.2"}', '@-30d@', '@-20s@'),
    ('processing-agent-torre1-01', 'processing', 'Submits PanDA tasks for registered files.', 'WARNING', '@-4m@', NULL, TRUE, 3, 398, '@-6m@', 21060, 'swf-node02', 'PROCESSING', 'torre1', '{"version": "1.8.1"}', '@-30d@', '@-4m@'),
    ('fastmon-agent-epic-01', 'fastmon', 'Samples time frames for fast monitoring.', 'OK', '@-9s@', 'http://swf-node03:8090/', TRUE, 1, 1210, '@-40s@', 7712, 'swf-node03', 'READY', 'epic-fastmon', NULL, '@-45d@', '@-9s@'),
    ('agent-manager-torre', 'agent_manager', 'Starts and stops the agents of user torre.', 'OK', '@-15s@', NULL, FALSE, 0, 0, NULL, 20990, 'swf-node01', 'READY', 'torre1', '{"username": "torre", "supervised": 4}', '@-30d@', '@-15s@'),
    ('fastmon-agent-epic-00', 'fastmon', 'Earlier instance of the fast monitoring agent.', 'EXITED', '@-3d@', NULL, TRUE, 0, 88, '@-3d@', 6120, 'swf-node03', 'EXITED', 'epic-fastmon', NULL, '@-50d@', '@-3d@');

INSERT INTO swf_workflow_definitions
    (workflow_name, version, workflow_type, definition, parameter_values, created_by, created_at, updated_at)
VALUES
    ('stf_datataking', '1.2', 'simulation', 'def run(env, daq):
    daq.take_data(periods=daq.physics_period_count)', '{"stf_count": 10, "stf_interval": 2.0, "physics_period_count": 1}', 'torre', '@-60d@', '@-10d@'),
    ('fast_processing', '0.9', 'processing', 'def run(env, fast):
    fast.slice_and_process(workers=fast.target_worker_count)', '{"target_worker_count": 16, "sampling_rate": 0.05}', 'mwang', '@-20d@', '@-4d@');

INSERT INTO swf_workflow_executions
    (execution_id, workflow_definition_id, namespace, parameter_values, performance_metrics, status, start_time, end_time, executed_by)
VALUES
    ('stf_datataking-torre-0042', 1, 'torre1', '{"stf_count": 10, "stf_interval": 2.0}', NULL, 'running', '@-25m@', NULL, 'torre'),
    ('stf_datataking-torre-0041', 1, 'torre1', '{"stf_count": 10, "stf_interval": 2.0}', '{"stf_per_second": 0.49}', 'completed', '@-5h@', '@-280m@', 'torre'),
    ('fast_processing-mwang-0007', 2, 'epic-fastmon', '{"target_worker_count": 16}', NULL, 'failed', '@-9h@', '@-520m@', 'mwang'),
    ('fast_processing-mwang-0006', 2, 'epic-fastmon', '{"target_worker_count": 8}', '{"slices_per_second": 3.1}', 'completed', '@-3d@', '@-70h@', 'mwang');

INSERT INTO swf_runs
    (run_number, start_time, end_time, run_conditions)
VALUES
    (100040, '@-3d@', '@-71h@', '{"beam": "10x100", "detector": "epic_craterlake"}'),
    (100041, '@-5h@', '@-285m@', '{"beam": "10x100", "detector": "epic_craterlake"}'),
    (100042, '@-25m@', NULL, '{"beam": "18x275", "detector": "epic_craterlake"}');

INSERT INTO swf_stf_files
    (file_id, run_id, machine_state, stf_filename, file_size_bytes, checksum, created_at, status, metadata, workflow_id, daq_state, daq_substate, workflow_status, tf_count)
VALUES
    ('5f0c1a00-7d1e-4c5a-9b3f-0a1b2c3d4e00', 1, 'standby', 'swf.100040.000001.stf', 2147483648, 'ad:00001092', '@-4320m@', 'processed', '{"start": "0.0", "sequence": 0}', NULL, 'run', 'physics', 'processed', 1000),
    ('5f0c1a01-7d1e-4c5a-9b3f-0a1b2c3d4e01', 1, 'physics', 'swf.100040.000002.stf', 2148532224, 'ad:00002f81', '@-4318m@', 'processed', '{"start": "2.0", "sequence": 1}', NULL, 'run', 'physics', 'processed', 1000),
    ('5f0c1a02-7d1e-4c5a-9b3f-0a1b2c3d4e02', 1, 'physics', 'swf.100040.000003.stf', 2149580800, 'ad:00004e70', '@-4316m@', 'processed', '{"start": "4.0", "sequence": 2}', NULL, 'run', 'physics', 'processed', 1000),
    ('5f0c1a03-7d1e-4c5a-9b3f-0a1b2c3d4e03', 1, 'physics', 'swf.100040.000004.stf', 2150629376, 'ad:00006d5f', '@-4314m@', 'failed', '{"start": "6.0", "sequence": 3}', NULL, 'run', 'physics', 'registered', 1000),
    ('5f0c1a04-7d1e-4c5a-9b3f-0a1b2c3d4e04', 2, 'standby', 'swf.100041.000001.stf', 2151677952, 'ad:00008c4e', '@-298m@', 'processed', '{"start": "8.0", "sequence": 4}', NULL, 'run', 'physics', 'processed', 1000),
    ('5f0c1a05-7d1e-4c5a-9b3f-0a1b2c3d4e05', 2, 'physics', 'swf.100041.000002.stf', 2152726528, 'ad:0000ab3d', '@-296m@', 'processed', '{"start": "10.0", "sequence": 5}', NULL, 'run', 'physics', 'processed', 1000),
    ('5f0c1a06-7d1e-4c5a-9b3f-0a1b2c3d4e06', 2, 'physics', 'swf.100041.000003.stf', 2153775104, 'ad:0000ca2c', '@-294m@', 'processed', '{"start": "12.0", "sequence": 6}', NULL, 'run', 'physics', 'processed', 1000),
    ('5f0c1a07-7d1e-4c5a-9b3f-0a1b2c3d4e07', 2, 'physics', 'swf.100041.000004.stf', 2154823680, 'ad:0000e91b', '@-292m@', 'processed', '{"start": "14.0", "sequence": 7}', NULL, 'run', 'physics', 'processed', 1000),
    ('5f0c1a08-7d1e-4c5a-9b3f-0a1b2c3d4e08', 3, 'standby', 'swf.100042.000001.stf', 2155872256, 'ad:0001080a', '@-24m@', 'processed', '{"start": "16.0", "sequence": 8}', NULL, 'run', 'physics', 'processed', 1000),
    ('5f0c1a09-7d1e-4c5a-9b3f-0a1b2c3d4e09', 3, 'physics', 'swf.100042.000002.stf', 2156920832, 'ad:000126f9', '@-22m@', 'processing', '{"start": "18.0", "sequence": 9}', NULL, 'run', 'physics', 'registered', 1000),
    ('5f0c1a0a-7d1e-4c5a-9b3f-0a1b2c3d4e0a', 3, 'physics', 'swf.100042.000003.stf', 2157969408, 'ad:000145e8', '@-20m@', 'registered', '{"start": "20.0", "sequence": 10}', NULL, 'run', 'physics', 'registered', 1000),
    ('5f0c1a0b-7d1e-4c5a-9b3f-0a1b2c3d4e0b', 3, 'physics', 'swf.100042.000004.stf', 2159017984, 'ad:000164d7', '@-18m@', 'registered', '{"start": "22.0", "sequence": 11}', NULL, 'run', 'physics', 'registered', 1000);

INSERT INTO swf_tf_slices
    (slice_id, tf_first, tf_last, tf_count, tf_filename, stf_filename, run_number, status, retries, metadata, created_at, updated_at, assigned_worker, assigned_at, completed_at)
VALUES
    (1, 0, 19, 20, 'swf.100042.000001.tf.001', 'swf.100042.000001.stf', 100042, 'completed', 0, NULL, '@-22m@', '@-20m@', 'worker-00', '@-21m@', '@-20m@'),
    (2, 20, 39, 20, 'swf.100042.000001.tf.001', 'swf.100042.000001.stf', 100042, 'completed', 0, NULL, '@-21m@', '@-19m@', 'worker-01', '@-20m@', '@-19m@'),
    (3, 40, 59, 20, 'swf.100042.000001.tf.001', 'swf.100042.000001.stf', 100042, 'completed', 0, NULL, '@-20m@', '@-18m@', 'worker-02', '@-19m@', '@-18m@'),
    (4, 60, 79, 20, 'swf.100042.000001.tf.001', 'swf.100042.000001.stf', 100042, 'completed', 0, NULL, '@-19m@', '@-17m@', 'worker-00', '@-18m@', '@-17m@'),
    (5, 80, 99, 20, 'swf.100042.000001.tf.001', 'swf.100042.000001.stf', 100042, 'processing', 0, NULL, '@-18m@', '@-16m@', 'worker-01', '@-17m@', NULL),
    (1, 0, 19, 20, 'swf.100042.000002.tf.001', 'swf.100042.000002.stf', 100042, 'processing', 0, NULL, '@-17m@', '@-15m@', 'worker-02', '@-16m@', NULL),
    (2, 20, 39, 20, 'swf.100042.000002.tf.001', 'swf.100042.000002.stf', 100042, 'queued', 0, NULL, '@-16m@', '@-14m@', NULL, NULL, NULL),
    (3, 40, 59, 20, 'swf.100042.000002.tf.001', 'swf.100042.000002.stf', 100042, 'queued', 0, NULL, '@-15m@', '@-13m@', NULL, NULL, NULL),
    (4, 60, 79, 20, 'swf.100042.000002.tf.001', 'swf.100042.000002.stf', 100042, 'failed', 2, NULL, '@-14m@', '@-12m@', 'worker-02', '@-13m@', NULL),
    (5, 80, 99, 20, 'swf.100042.000002.tf.001', 'swf.100042.000002.stf', 100042, 'completed', 0, NULL, '@-13m@', '@-11m@', 'worker-00', '@-12m@', '@-11m@');

INSERT INTO swf_run_state
    (run_number, phase, state, substate, target_worker_count, active_worker_count, stf_samples_received, slices_created, slices_queued, slices_processing, slices_completed, slices_failed, state_changed_at, updated_at, metadata)
VALUES
    (100041, 'ended', 'ended', NULL, 16, 0, 4, 40, 0, 0, 40, 0, '@-285m@', '@-280m@', NULL),
    (100042, 'physics', 'run', 'physics', 16, 14, 2, 10, 2, 2, 5, 1, '@-24m@', '@-1m@', '{"source": "fast_processing"}');

INSERT INTO swf_system_state_events
    (timestamp, run_number, event_type, state, substate, event_data)
VALUES
    ('@-26m@', 100042, 'broadcast_run_imminent', 'beam', 'not_ready', '{"run_id": 100042}'),
    ('@-25m@', 100042, 'start_run', 'run', 'physics', '{"run_id": 100042}'),
    ('@-10m@', 100042, 'pause_run', 'standby', 'physics', '{"reason": "beam"}'),
    ('@-8m@', 100042, 'resume_run', 'run', 'physics', '{}');

INSERT INTO swf_persistent_state
    (state_data, updated_at)
VALUES
    ('{"next_run_number": 100043, "last_run_number": 100042, "next_workflow_execution_id": 43}', '@-25m@');

INSERT INTO swf_stf_workflows
    (workflow_id, filename, file_id, namespace, execution_id, run_id, daq_state, daq_substate, generated_time, stf_start_time, stf_end_time, current_status, current_agent, completed_at, failed_at, failure_reason, stf_metadata, created_at, updated_at)
VALUES
    ('8d3b6f10-2f4e-4b0a-8a57-6e1f0b9c2d01', 'swf.100042.000001.stf', NULL, 'torre1', 'stf_datataking-torre-0042', '100042', 'run', 'physics', '@-24m@', '@-24m@', '@-24m@', 'processing_complete', 'processing', '@-18m@', NULL, NULL, NULL, '@-24m@', '@-18m@'),
    ('8d3b6f10-2f4e-4b0a-8a57-6e1f0b9c2d02', 'swf.100042.000002.stf', NULL, 'torre1', 'stf_datataking-torre-0042', '100042', 'run', 'physics', '@-22m@', '@-22m@', '@-22m@', 'processing_received', 'processing', NULL, NULL, NULL, NULL, '@-22m@', '@-17m@');

INSERT INTO swf_workflow_messages
    (message_id, message_type, sender_agent, sender_type, recipient_agent, recipient_type, namespace, execution_id, run_id, message_content, message_metadata, sent_at, is_successful, error_message, queue_name)
VALUES
    ('c1d2e3f4-0000-4000-8000-000000000000', 'run_imminent', 'daq-simulator-torre1-01', 'daqsim', NULL, NULL, 'torre1', 'stf_datataking-torre-0042', '100042', '{"msg_type": "run_imminent", "run_id": 100042, "sequence": 0}', '{}', '@-25m@', TRUE, NULL, 'epictopic'),
    ('c1d2e3f4-0000-4000-8000-000000000001', 'start_run', 'daq-simulator-torre1-01', 'daqsim', NULL, NULL, 'torre1', 'stf_datataking-torre-0042', '100042', '{"msg_type": "start_run", "run_id": 100042, "sequence": 1}', '{}', '@-23m@', TRUE, NULL, 'epictopic'),
    ('c1d2e3f4-0000-4000-8000-000000000002', 'stf_gen', 'daq-simulator-torre1-01', 'daqsim', NULL, NULL, 'torre1', 'stf_datataking-torre-0042', '100042', '{"msg_type": "stf_gen", "run_id": 100042, "sequence": 2}', '{}', '@-21m@', TRUE, NULL, 'epictopic'),
    ('c1d2e3f4-0000-4000-8000-000000000003', 'data_ready', 'data-agent-torre1-01', 'data', NULL, NULL, 'torre1', 'stf_datataking-torre-0042', '100042', '{"msg_type": "data_ready", "run_id": 100042, "sequence": 3}', '{}', '@-19m@', TRUE, NULL, 'epictopic'),
    ('c1d2e3f4-0000-4000-8000-000000000004', 'stf_gen', 'daq-simulator-torre1-01', 'daqsim', NULL, NULL, 'torre1', 'stf_datataking-torre-0042', '100042', '{"msg_type": "stf_gen", "run_id": 100042, "sequence": 4}', '{}', '@-17m@', TRUE, NULL, 'epictopic'),
    ('c1d2e3f4-0000-4000-8000-000000000005', 'data_ready', 'data-agent-torre1-01', 'data', NULL, NULL, 'torre1', 'stf_datataking-torre-0042', '100042', '{"msg_type": "data_ready", "run_id": 100042, "sequence": 5}', '{}', '@-15m@', TRUE, NULL, 'epictopic'),
    ('c1d2e3f4-0000-4000-8000-000000000006', 'processing_complete', 'processing-agent-torre1-01', 'processing', NULL, NULL, 'torre1', 'stf_datataking-torre-0042', '100042', '{"msg_type": "processing_complete", "run_id": 100042, "sequence": 6}', '{}', '@-13m@', TRUE, NULL, 'epictopic'),
    ('c1d2e3f4-0000-4000-8000-000000000007', 'pause_run', 'daq-simulator-torre1-01', 'daqsim', NULL, NULL, 'torre1', 'stf_datataking-torre-0042', '100042', '{"msg_type": "pause_run", "run_id": 100042, "sequence": 7}', '{}', '@-11m@', TRUE, NULL, 'epictopic'),
    ('c1d2e3f4-0000-4000-8000-0000000000ff', 'stf_gen', 'daq-simulator-torre1-01', 'daqsim', NULL, NULL, 'torre1', 'stf_datataking-torre-0041', '100041', '{"msg_type": "stf_gen", "run_id": 100041}', '{}', '@-297m@', FALSE, 'no subscriber', 'epictopic');

INSERT INTO swf_applog
    (app_name, instance_name, timestamp, level, levelname, message, module, funcname, lineno, process, thread, extra_data)
VALUES
    ('daqsim', 'daq-simulator-torre1-01', '@-25m@', 20, 'INFO', 'Run 100042 started', 'agent', 'run', 120, 21044, 140231, '{"execution_id": "stf_datataking-torre-0042"}'),
    ('daqsim', 'daq-simulator-torre1-01', '@-24m@', 20, 'INFO', 'Generated swf.100042.000001.stf', 'daq', 'emit_stf', 88, 21044, 140231, '{"execution_id": "stf_datataking-torre-0042"}'),
    ('data', 'data-agent-torre1-01', '@-23m@', 20, 'INFO', 'Registered swf.100042.000001.stf', 'data', 'register', 54, 21051, 140231, '{"execution_id": "stf_datataking-torre-0042"}'),
    ('processing', 'processing-agent-torre1-01', '@-19m@', 30, 'WARNING', 'Queue SWF_EPIC_BNL is slow: 240 s to start', 'panda', 'submit', 201, 21060, 140231, '{"execution_id": "stf_datataking-torre-0042"}'),
    ('processing', 'processing-agent-torre1-01', '@-12m@', 40, 'ERROR', 'TF slice 4 of swf.100042.000002.tf.001 failed: worker lost heartbeat', 'slices', 'collect', 310, 21060, 140231, '{"execution_id": "stf_datataking-torre-0042"}'),
    ('fastmon', 'fastmon-agent-epic-01', '@-520m@', 40, 'ERROR', 'fast_processing-mwang-0007 aborted: no workers within 300 s', 'fast', 'wait_workers', 77, 7712, 140231, '{"execution_id": "fast_processing-mwang-0007"}'),
    ('fastmon', 'fastmon-agent-epic-01', '@-2m@', 20, 'INFO', 'Sampled 20 time frames', 'fast', 'sample', 40, 7712, 140231, NULL),
    ('monitor', 'swf-monitor', '@-30h@', 50, 'CRITICAL', 'Database connection lost', 'db', 'connect', 12, 901, 140231, NULL);

INSERT INTO swf_ai_memory
    (username, session_id, role, content, created_at, namespace, project_path)
VALUES
    ('torre', 's-1842', 'user', 'Which runs failed yesterday?', '@-26h@', 'torre1', '/swf-testbed'),
    ('torre', 's-1842', 'assistant', 'None failed; run 100040 has one STF file in state failed.', '@-1559m@', 'torre1', '/swf-testbed'),
    ('torre', 's-1850', 'user', 'Watch run 100042 for me.', '@-20m@', 'torre1', '/swf-testbed'),
    ('mwang', 's-0311', 'user', 'Why did fast_processing-mwang-0007 abort?', '@-8h@', 'epic-fastmon', NULL);

INSERT INTO pcs_physics_category
    (digit, name, description, created_by, created_at)
VALUES
    (1, 'DIS', 'Deep inelastic scattering.', 'sakib', '@-200d@'),
    (2, 'DVCS', 'Deeply virtual Compton scattering.', 'sakib', '@-200d@'),
    (3, 'SIDIS', 'Semi-inclusive DIS.', 'sakib', '@-200d@');

INSERT INTO pcs_physics_tag
    (tag_number, tag_label, category_id, status, description, parameters, created_by, created_at, updated_at)
VALUES
    (1001, 'p1001', 1, 'locked', 'NC DIS 10x100, Q2 above 1 GeV2', '{"process": "DIS", "current": "NC", "beam_energy_electron": 10, "beam_energy_hadron": 100, "q2_min": 1}', 'sakib', '@-120d@', '@-100d@'),
    (1002, 'p1002', 1, 'draft', 'NC DIS 18x275, Q2 above 10 GeV2', '{"process": "DIS", "current": "NC", "beam_energy_electron": 18, "beam_energy_hadron": 275, "q2_min": 10}', 'sakib', '@-20d@', '@-20d@'),
    (2001, 'p2001', 2, 'locked', 'DVCS 10x100 on protons', '{"process": "DVCS", "beam_energy_electron": 10, "beam_energy_hadron": 100}', 'alex', '@-90d@', '@-80d@');

INSERT INTO pcs_evgen_tag
    (tag_number, tag_label, status, description, parameters, created_by, created_at, updated_at)
VALUES
    (1, 'e1', 'locked', 'pythia8 8.310, epic tune', '{"generator": "pythia8", "version": "8.310"}', 'sakib', '@-110d@', '@-60d@'),
    (2, 'e2', 'draft', 'EpIC 1.1.6', '{"generator": "EpIC", "version": "1.1.6"}', 'sakib', '@-110d@', '@-60d@');

INSERT INTO pcs_simu_tag
    (tag_number, tag_label, status, description, parameters, created_by, created_at, updated_at)
VALUES
    (1, 's1', 'locked', 'npsim 1.4, no background', '{"simulator": "npsim", "version": "1.4", "background": null}', 'sakib', '@-110d@', '@-60d@');

INSERT INTO pcs_reco_tag
    (tag_number, tag_label, status, description, parameters, created_by, created_at, updated_at)
VALUES
    (1, 'r1', 'locked', 'EICrecon 1.22', '{"reconstruction": "EICrecon", "version": "1.22"}', 'sakib', '@-110d@', '@-60d@'),
    (2, 'r2', 'draft', 'EICrecon 1.24, new tracking', '{"reconstruction": "EICrecon", "version": "1.24"}', 'sakib', '@-110d@', '@-60d@');

INSERT INTO pcs_dataset
    (dataset_name, scope, detector_version, detector_config, physics_tag_id, evgen_tag_id, simu_tag_id, reco_tag_id, block_num, blocks, did, file_count, data_size, description, metadata, created_by, created_at)
VALUES
    ('group.EIC.26.02.0.epic_craterlake.p1001.e1.s1.r1', 'group.EIC', '26.02.0', 'epic_craterlake', 1, 1, 1, 1, 1, 1, 'group.EIC:group.EIC.26.02.0.epic_craterlake.p1001.e1.s1.r1.b1', 480, 1932735283200, 'NC DIS, first pass.', '{"stage": "reco"}', 'sakib', '@-50d@'),
    ('group.EIC.26.02.0.epic_craterlake.p2001.e2.s1.r1', 'group.EIC', '26.02.0', 'epic_craterlake', 3, 2, 1, 1, 1, 1, 'group.EIC:group.EIC.26.02.0.epic_craterlake.p2001.e2.s1.r1.b1', 120, 418759311360, 'DVCS, first pass.', '{"stage": "reco"}', 'alex', '@-40d@'),
    ('evgen.DIS.NC.10x100.q2min1', 'group.EIC.evgen', '26.02.0', 'epic_craterlake', 1, 1, 1, 1, 1, 1, 'group.EIC.evgen:evgen.DIS.NC.10x100.q2min1.b1', 96, 64424509440, 'Event generator files.', '{"stage": "evgen", "source": {"kind": "csv_manifest", "location": "DIS/NC/10x100/minQ2=1.csv"}}', 'mcp', '@-55d@');

INSERT INTO pcs_prod_config
    (name, description, container_image, jug_xl_tag, target_hours_per_job, events_per_task, panda_site, panda_queue, panda_working_group, panda_resource_type, rucio_rse, rucio_replication_rules, data, created_by, created_at, updated_at)
VALUES
    ('standard-26.02', 'Standard production on OSG and BNL.', 'eicweb/eic_xl:26.02.0-stable', '26.02.0-stable', 2.5, 100000, 'BNL_OSG', 'BNL_OSG_PanDA_1', 'EIC', 'SCORE', 'EIC-XRD', '[{"copies": 1, "rse": "EIC-XRD"}]', '{"memory_mb": 3000}', 'sakib', '@-70d@', '@-30d@');

INSERT INTO pcs_prod_task
    (name, description, status, dataset_id, prod_config_id, csv_file, overrides, condor_command, panda_command, panda_task_id, condor_cluster_id, created_by, created_at, updated_at)
VALUES
    ('prod-26.02-dis-nc-10x100', 'NC DIS for the February campaign.', 'submitted', 1, 1, 'DIS/NC/10x100/minQ2=1.csv', '{"public_catalog_issue": 211, "input_dataset_dids": ["group.EIC.evgen:evgen.DIS.NC.10x100.q2min1.b1"]}', 'csv_to_chunks DIS/NC/10x100/minQ2=1.csv | submit_csv.sh osg_csv', 'prun --exec "run.sh %RNDM:1" --outDS group.EIC.26.02.0.p1001 --site BNL_OSG_PanDA_1', 27731, '', 'sakib', '@-30d@', '@-2d@'),
    ('prod-26.02-dvcs-10x100', 'DVCS for the February campaign.', 'ready', 2, 1, 'EXCLUSIVE/DVCS/10x100.csv', '{"public_catalog_issue": 214}', '', '', NULL, '', 'alex', '@-12d@', '@-6d@');

INSERT INTO doma_panda.jobsactive4
    (pandaid, jeditaskid, reqid, jobname, produsername, jobstatus, computingsite, computingelement, transformation, processingtype, creationtime, starttime, endtime, modificationtime, corecount, actualcorecount, nevents, maxrss, maxpss, cpuconsumptiontime, cpuconsumptionunit, inputfilebytes, ninputdatafiles, outputfilebytes, noutputdatafiles, destinationdblock, destinationse, pilotid, batchid, container_name, brokerageerrorcode, ddmerrorcode, exeerrorcode, exeerrordiag, jobdispatchererrorcode, jobdispatchererrordiag, piloterrorcode, piloterrordiag, superrorcode, taskbuffererrorcode, taskbuffererrordiag, transexitcode, workinggroup)
VALUES
    (90021, 27740, 512, 'eic.27740.00021', 'torre', 'running', 'SWF_EPIC_BNL', 'ce01.example.org', 'https://panda.example.org/trf/runGen-00-00-02', 'stfprocessing', '@-30m naive@', '@-24m naive@', NULL, '@-22m naive@', 8, 8, NULL, 1871000, 1631000, NULL, 's', 268435456, 2, NULL, NULL, 'group.EIC.27740.out', 'EIC-XRD', 'https://logs.example.org/90021.out', '7021.0', 'eicweb/eic_xl:26.02.0-stable', 0, 0, 0, NULL, 0, NULL, 0, NULL, 0, 0, NULL, '0', 'EIC'),
    (90022, 27740, 512, 'eic.27740.00022', 'torre', 'running', 'SWF_EPIC_BNL', 'ce02.example.org', 'https://panda.example.org/trf/runGen-00-00-02', 'stfprocessing', '@-28m naive@', '@-22m naive@', NULL, '@-20m naive@', 1, 1, NULL, 1872000, 1632000, NULL, 's', 268435456, 2, NULL, NULL, 'group.EIC.27740.out', 'EIC-XRD', 'https://logs.example.org/90022.out', '7022.0', 'eicweb/eic_xl:26.02.0-stable', 0, 0, 0, NULL, 0, NULL, 0, NULL, 0, 0, NULL, '0', 'EIC'),
    (90023, 27740, 512, 'eic.27740.00023', 'torre', 'activated', 'SWF_EPIC_JLAB', 'ce03.example.org', 'https://panda.example.org/trf/runGen-00-00-02', 'stfprocessing', '@-20m naive@', NULL, NULL, '@-12m naive@', 8, 8, NULL, NULL, NULL, NULL, 's', 268435456, 2, NULL, NULL, 'group.EIC.27740.out', 'EIC-XRD', 'https://logs.example.org/90023.out', '7023.0', 'eicweb/eic_xl:26.02.0-stable', 0, 0, 0, NULL, 0, NULL, 0, NULL, 0, 0, NULL, '0', 'EIC'),
    (90024, 27731, 498, 'eic.27731.00024', 'sakib', 'transferring', 'BNL_OSG_PanDA_1', 'ce01.example.org', 'https://panda.example.org/trf/runGen-00-00-02', 'epicproduction', '@-300m naive@', NULL, NULL, '@-292m naive@', 1, 1, NULL, NULL, NULL, NULL, 's', 268435456, 2, NULL, NULL, 'group.EIC.27731.out', 'EIC-XRD', 'https://logs.example.org/90024.out', '7024.0', 'eicweb/eic_xl:26.02.0-stable', 0, 0, 0, NULL, 0, NULL, 0, NULL, 0, 0, NULL, '0', 'EIC'),
    (90025, 27740, 512, 'eic.27740.00025', 'torre', 'defined', 'SWF_EPIC_JLAB', 'ce02.example.org', 'https://panda.example.org/trf/runGen-00-00-02', 'stfprocessing', '@-10m naive@', NULL, NULL, '@-2m naive@', 8, 8, NULL, NULL, NULL, NULL, 's', 268435456, 2, NULL, NULL, 'group.EIC.27740.out', 'EIC-XRD', 'https://logs.example.org/90025.out', '7025.0', 'eicweb/eic_xl:26.02.0-stable', 0, 0, 0, NULL, 0, NULL, 0, NULL, 0, 0, NULL, '0', 'EIC');

INSERT INTO doma_panda.jobsarchived4
    (pandaid, jeditaskid, reqid, jobname, produsername, jobstatus, computingsite, computingelement, transformation, processingtype, creationtime, starttime, endtime, modificationtime, corecount, actualcorecount, nevents, maxrss, maxpss, cpuconsumptiontime, cpuconsumptionunit, inputfilebytes, ninputdatafiles, outputfilebytes, noutputdatafiles, destinationdblock, destinationse, pilotid, batchid, container_name, brokerageerrorcode, ddmerrorcode, exeerrorcode, exeerrordiag, jobdispatchererrorcode, jobdispatchererrordiag, piloterrorcode, piloterrordiag, superrorcode, taskbuffererrorcode, taskbuffererrordiag, transexitcode, workinggroup)
VALUES
    (90001, 27731, 498, 'eic.27731.00001', 'sakib', 'finished', 'BNL_OSG_PanDA_1', 'ce02.example.org', 'https://panda.example.org/trf/runGen-00-00-02', 'epicproduction', '@-2880m naive@', '@-2874m naive@', '@-2784m naive@', '@-2783m naive@', 8, 8, 1000, 1851000, 1611000, 5110, 's', 268435456, 2, 734004200, 2, 'group.EIC.27731.out', 'EIC-XRD', 'https://logs.example.org/90001.out', '7001.0', 'eicweb/eic_xl:26.02.0-stable', 0, 0, 0, NULL, 0, NULL, 0, NULL, 0, 0, NULL, '0', 'EIC'),
    (90002, 27731, 498, 'eic.27731.00002', 'sakib', 'finished', 'BNL_OSG_PanDA_1', 'ce03.example.org', 'https://panda.example.org/trf/runGen-00-00-02', 'epicproduction', '@-2875m naive@', '@-2869m naive@', '@-2779m naive@', '@-2778m naive@', 1, 1, 1000, 1852000, 1612000, 5120, 's', 268435456, 2, 734005200, 2, 'group.EIC.27731.out', 'EIC-XRD', 'https://logs.example.org/90002.out', '7002.0', 'eicweb/eic_xl:26.02.0-stable', 0, 0, 0, NULL, 0, NULL, 0, NULL, 0, 0, NULL, '0', 'EIC'),
    (90003, 27731, 498, 'eic.27731.00003', 'sakib', 'failed', 'BNL_OSG_PanDA_1', 'ce01.example.org', 'https://panda.example.org/trf/runGen-00-00-02', 'epicproduction', '@-2870m naive@', '@-2864m naive@', '@-2774m naive@', '@-2773m naive@', 8, 8, NULL, 1853000, 1613000, 5130, 's', 268435456, 2, NULL, NULL, 'group.EIC.27731.out', 'EIC-XRD', 'https://logs.example.org/90003.out', '7003.0', 'eicweb/eic_xl:26.02.0-stable', 0, 0, 0, NULL, 0, NULL, 1305, 'Failed to execute payload: run.sh returned 139', 0, 0, NULL, '139', 'EIC'),
    (90004, 27731, 498, 'eic.27731.00004', 'sakib', 'failed', 'BNL_OSG_PanDA_1', 'ce02.example.org', 'https://panda.example.org/trf/runGen-00-00-02', 'epicproduction', '@-1500m naive@', '@-1494m naive@', '@-1404m naive@', '@-1403m naive@', 1, 1, NULL, 1854000, 1614000, 5140, 's', 268435456, 2, NULL, NULL, 'group.EIC.27731.out', 'EIC-XRD', 'https://logs.example.org/90004.out', '7004.0', 'eicweb/eic_xl:26.02.0-stable', 0, 0, 0, NULL, 0, NULL, 1305, 'Failed to execute payload: run.sh returned 139', 0, 0, NULL, '139', 'EIC'),
    (90005, 27731, 498, 'eic.27731.00005', 'sakib', 'finished', 'BNL_OSG_PanDA_1', 'ce03.example.org', 'https://panda.example.org/trf/runGen-00-00-02', 'epicproduction', '@-1490m naive@', '@-1484m naive@', '@-1394m naive@', '@-1393m naive@', 8, 8, 1000, 1855000, 1615000, 5150, 's', 268435456, 2, 734008200, 2, 'group.EIC.27731.out', 'EIC-XRD', 'https://logs.example.org/90005.out', '7005.0', 'eicweb/eic_xl:26.02.0-stable', 0, 0, 0, NULL, 0, NULL, 0, NULL, 0, 0, NULL, '0', 'EIC'),
    (90006, 27731, 498, 'eic.27731.00006', 'sakib', 'cancelled', 'BNL_OSG_PanDA_1', 'ce01.example.org', 'https://panda.example.org/trf/runGen-00-00-02', 'epicproduction', '@-1480m naive@', NULL, '@-1384m naive@', '@-1383m naive@', 1, 1, NULL, NULL, NULL, NULL, 's', 268435456, 2, NULL, NULL, 'group.EIC.27731.out', 'EIC-XRD', 'https://logs.example.org/90006.out', '7006.0', 'eicweb/eic_xl:26.02.0-stable', 0, 0, 0, NULL, 0, NULL, 0, NULL, 0, 300, 'The worker was cancelled while the job was starting', '0', 'EIC'),
    (90011, 27740, 512, 'eic.27740.00011', 'torre', 'finished', 'SWF_EPIC_BNL', 'ce03.example.org', 'https://panda.example.org/trf/runGen-00-00-02', 'stfprocessing', '@-280m naive@', '@-274m naive@', '@-184m naive@', '@-183m naive@', 8, 8, 1000, 1861000, 1621000, 5210, 's', 268435456, 2, 734014200, 2, 'group.EIC.27740.out', 'EIC-XRD', 'https://logs.example.org/90011.out', '7011.0', 'eicweb/eic_xl:26.02.0-stable', 0, 0, 0, NULL, 0, NULL, 0, NULL, 0, 0, NULL, '0', 'EIC'),
    (90012, 27740, 512, 'eic.27740.00012', 'torre', 'finished', 'SWF_EPIC_BNL', 'ce01.example.org', 'https://panda.example.org/trf/runGen-00-00-02', 'stfprocessing', '@-275m naive@', '@-269m naive@', '@-179m naive@', '@-178m naive@', 1, 1, 1000, 1862000, 1622000, 5220, 's', 268435456, 2, 734015200, 2, 'group.EIC.27740.out', 'EIC-XRD', 'https://logs.example.org/90012.out', '7012.0', 'eicweb/eic_xl:26.02.0-stable', 0, 0, 0, NULL, 0, NULL, 0, NULL, 0, 0, NULL, '0', 'EIC'),
    (90013, 27740, 512, 'eic.27740.00013', 'torre', 'failed', 'SWF_EPIC_BNL', 'ce02.example.org', 'https://panda.example.org/trf/runGen-00-00-02', 'stfprocessing', '@-270m naive@', '@-264m naive@', '@-174m naive@', '@-173m naive@', 8, 8, NULL, 1863000, 1623000, 5230, 's', 268435456, 2, NULL, NULL, 'group.EIC.27740.out', 'EIC-XRD', 'https://logs.example.org/90013.out', '7013.0', 'eicweb/eic_xl:26.02.0-stable', 0, 0, 65, 'No such file: swf.100042.000002.tf.001', 0, NULL, 0, NULL, 0, 0, NULL, '65', 'EIC'),
    (90014, 27740, 512, 'eic.27740.00014', 'torre', 'failed', 'SWF_EPIC_JLAB', 'ce03.example.org', 'https://panda.example.org/trf/runGen-00-00-02', 'stfprocessing', '@-260m naive@', '@-254m naive@', '@-164m naive@', '@-163m naive@', 1, 1, NULL, 1864000, 1624000, 5240, 's', 268435456, 2, NULL, NULL, 'group.EIC.27740.out', 'EIC-XRD', 'https://logs.example.org/90014.out', '7014.0', 'eicweb/eic_xl:26.02.0-stable', 0, 0, 0, NULL, 102, 'Sent job did not receive reply from pilot within 30 minutes', 0, NULL, 0, 0, NULL, '0', 'EIC'),
    (90015, 27740, 512, 'eic.27740.00015', 'torre', 'finished', 'SWF_EPIC_JLAB', 'ce01.example.org', 'https://panda.example.org/trf/runGen-00-00-02', 'stfprocessing', '@-255m naive@', '@-249m naive@', '@-159m naive@', '@-158m naive@', 8, 8, 1000, 1865000, 1625000, 5250, 's', 268435456, 2, 734018200, 2, 'group.EIC.27740.out', 'EIC-XRD', 'https://logs.example.org/90015.out', '7015.0', 'eicweb/eic_xl:26.02.0-stable', 0, 0, 0, NULL, 0, NULL, 0, NULL, 0, 0, NULL, '0', 'EIC'),
    (90016, 27702, 470, 'eic.27702.00016', 'mwang', 'closed', 'SWF_EPIC_BNL', 'ce02.example.org', 'https://panda.example.org/trf/runGen-00-00-02', 'stfprocessing', '@-8000m naive@', NULL, '@-7904m naive@', '@-7903m naive@', 1, 1, NULL, NULL, NULL, NULL, 's', 268435456, 2, NULL, NULL, 'group.EIC.27702.out', 'EIC-XRD', 'https://logs.example.org/90016.out', '7016.0', 'eicweb/eic_xl:26.02.0-stable', 0, 0, 0, NULL, 0, NULL, 0, NULL, 0, 0, NULL, '0', NULL);

INSERT INTO doma_panda.filestable4
    (pandaid, jeditaskid, lfn, type, guid, scope, fsize, status, dataset, destinationdblock, checksum, destinationse)
VALUES
    (90011, 27740, 'swf.100042.000001.tf.001', 'input', '0b1c0011-0000-4000-8000-000000000001', 'swf', 134217728, 'ready', 'swf.100042.tf', NULL, 'ad:1a2b3c4d', NULL),
    (90011, 27740, 'swf.100042.000001.hist.root', 'output', '0b1c0011-0000-4000-8000-000000000002', 'swf', 734011200, 'ready', 'group.EIC.27740.out', 'group.EIC.27740.out', 'ad:5e6f7a8b', 'EIC-XRD'),
    (90011, 27740, '90011.job.log.tgz', 'log', '0b1c0011-0000-4000-8000-000000000003', 'swf', 51200, 'ready', 'group.EIC.27740.log', 'group.EIC.27740.log', 'ad:00c0ffee', 'EIC-XRD'),
    (90013, 27740, 'swf.100042.000002.tf.001', 'input', '0b1c0011-0000-4000-8000-000000000004', 'swf', 134217728, 'missing', 'swf.100042.tf', NULL, 'ad:99887766', NULL),
    (90013, 27740, '90013.job.log.tgz', 'log', '0b1c0011-0000-4000-8000-000000000005', 'swf', 20480, 'failed', 'group.EIC.27740.log', 'group.EIC.27740.log', NULL, 'EIC-XRD'),
    (90003, 27731, '90003.job.log.tgz', 'log', '0b1c0011-0000-4000-8000-000000000006', 'group.EIC', 40960, 'ready', 'group.EIC.27731.log', 'group.EIC.27731.log', 'ad:12121212', 'EIC-XRD');

INSERT INTO doma_panda.jedi_tasks
    (jeditaskid, taskname, status, username, creationdate, starttime, endtime, modificationtime, reqid, processingtype, transpath, progress, failurerate, errordialog, site, corecount, taskpriority, currentpriority, gshare, attemptnr, parent_tid, workinggroup)
VALUES
    (27740, 'user.torre.swf.100042.fastproc', 'running', 'torre', '@-290m naive@', '@-285m naive@', NULL, '@-8m naive@', 512, 'stfprocessing', 'https://panda.example.org/trf/runGen-00-00-02', 50.0, 20.0, NULL, 'SWF_EPIC_BNL', 8, 1000, 990, 'EIC', 1, NULL, 'EIC'),
    (27731, 'group.EIC.26.02.0.epic_craterlake.p1001', 'exhausted', 'sakib', '@-49h naive@', '@-48h naive@', NULL, '@-22h naive@', 498, 'epicproduction', 'https://panda.example.org/trf/runGen-00-00-02', 50.0, 33.3, '3 jobs failed more often than allowed', 'BNL_OSG_PanDA_1', 1, 900, 880, 'EIC', 2, NULL, 'EIC'),
    (27702, 'user.mwang.fastmon.test', 'done', 'mwang', '@-6d naive@', '@-6d naive@', '@-5d naive@', '@-5d naive@', 470, 'stfprocessing', NULL, 100.0, 0.0, NULL, NULL, 1, 1000, 1000, 'EIC', 1, NULL, NULL);

INSERT INTO doma_panda.schedconfig_json
    (panda_queue, data, last_update)
VALUES
    ('BNL_OSG_PanDA_1', '{"siteid": "BNL_OSG_PanDA_1", "atlas_site": "BNL_OSG", "vo_name": "eic", "status": "online", "state": "ACTIVE", "cloud": "US", "type": "production", "corecount": 1, "maxrss": 3000, "maxwdir": 20000, "harvester": "BNL_OSG", "rc_site": "BNL"}', '@-2d naive@'),
    ('SWF_EPIC_BNL', '{"siteid": "SWF_EPIC_BNL", "atlas_site": "BNL_SDCC", "vo_name": "eic", "status": "online", "state": "ACTIVE", "cloud": "US", "type": "unified", "corecount": 8, "maxrss": 16000, "maxwdir": 60000, "harvester": "BNL_SWF", "rc_site": "BNL"}', '@-1d naive@'),
    ('SWF_EPIC_JLAB', '{"siteid": "SWF_EPIC_JLAB", "atlas_site": "JLAB", "vo_name": "eic", "status": "test", "state": "ACTIVE", "cloud": "US", "type": "unified", "corecount": 8, "maxrss": 16000, "maxwdir": 60000, "harvester": "JLAB_SWF", "rc_site": "JLAB"}', '@-6h naive@');

INSERT INTO doma_panda.harvester_workers
    (harvesterid, workerid, lastupdate, status, batchid, computingsite, computingelement, submittime, starttime, endtime, ncore, njobs, errorcode, nativestatus, diagmessage)
VALUES
    ('BNL_SWF', 5511, '@-180m naive@', 'finished', '7011.0', 'SWF_EPIC_BNL', 'ce03.example.org', '@-278m naive@', '@-275m naive@', '@-180m naive@', 8, 1, 0, 'COMPLETED', NULL),
    ('BNL_SWF', 5513, '@-170m naive@', 'failed', '7013.0', 'SWF_EPIC_BNL', 'ce02.example.org', '@-268m naive@', '@-265m naive@', '@-172m naive@', 8, 1, 65, 'FAILED', 'payload exited with 65'),
    ('BNL_SWF', 5521, '@-2m naive@', 'running', '7021.0', 'SWF_EPIC_BNL', 'ce01.example.org', '@-29m naive@', '@-25m naive@', NULL, 8, 1, 0, 'RUNNING', NULL);

INSERT INTO doma_panda.harvester_rel_jobs_workers
    (harvesterid, workerid, pandaid, lastupdate)
VALUES
    ('BNL_SWF', 5511, 90011, '@-180m naive@'),
    ('BNL_SWF', 5513, 90013, '@-170m naive@'),
    ('BNL_SWF', 5521, 90021, '@-2m naive@');
