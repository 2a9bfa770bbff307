// Analyses each folder below recordings/; see docs/platforms.md. nextflow run main.nf -with-docker --recipe cells
params.recordings = 'recordings/*'
params.recipe = 'inspect'
params.image = 'isx:latest'

process isx {
    container "${params.image}"
    containerOptions '--user $(id -u):$(id -g) --network none'
    publishDir 'results', mode: 'copy'

    input:
    path recordings

    output:
    path "${recordings}-results", emit: results
    path "${recordings}-results/done.marker", emit: done

    script:
    """
    python /app/bootstrap.py --input-dir ${recordings} --output-dir ${recordings}-results --recipe ${params.recipe}
    """
}

workflow {
    isx(Channel.fromPath(params.recordings, type: 'dir'))
}
